"""Early stop: a share of the train split is not trained on, and tells which epoch was best."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from weighbridge.contracts import Array, Context
from weighbridge.core.batches import count
from weighbridge.core.errors import StageError
from weighbridge.environment.one_thread import one_thread
from weighbridge.steps.train.checkpoint import Stateful, Unsaved
from weighbridge.steps.train.training import Objective, TrainingOptions, forward

if TYPE_CHECKING:
    import torch


class HeldOut:
    """The samples of the split `train` that are held out, the same for every epoch, and the best state so far.

    Raises `StageError` where the split's samples cannot be chosen, as those of a loader that makes its own batches, or are
    too few.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        options: TrainingOptions,
        context: Context,
        objective: Objective,
        share: float,
        patience: int,
    ) -> None:
        self._module, self._options, self._patience = module, options, patience
        self._split, self._objective = context.data.split("train"), objective
        n = self._split.samples
        if n is None:
            raise StageError(
                "finetune",
                "`patience` holds samples out, and those of this train split come in batches of their own: give arrays or a "
                "dataset, or leave `patience` out",
            )
        held = round(share * n)
        if not 0 < held < n:
            raise StageError(
                "finetune", f"`hold_out: {share:g}` of {n} samples is {held}: choose another share"
            )
        order = np.random.default_rng(context.seed).permutation(n)
        self._held, self._trained = np.sort(order[:held]), np.sort(order[held:])
        self._best, self._at, self._epoch = math.inf, 0, 0
        self._parts: dict[str, Stateful] = {"module": module, "unsaved": Unsaved(module)}
        self._state: dict[str, Any] = {}

    def trained(self, n: int) -> Array:
        """The samples to train on."""
        return self._trained

    def is_over(self, epoch: int) -> bool:
        """Look at the held-out samples after an epoch; whether it is long enough since the best one."""
        loss = self._measured()
        self._epoch = epoch
        if loss < self._best:
            self._best, self._at = loss, epoch
            self._state = copy.deepcopy({name: part.state_dict() for name, part in self._parts.items()})
        return epoch - self._at >= self._patience

    def restore(self) -> str:
        """Put the best epoch's state into the module; a sentence for the row. Raises `StageError` where none had a loss."""
        if not self._state:
            raise StageError("finetune", "the loss on the held-out samples was never finite; lower `lr`")
        for name, part in self._parts.items():
            part.load_state_dict(self._state[name])
        return (
            f"the weights are those of epoch {self._at} of {self._epoch}, which had the least loss on {len(self._held)} "
            f"held-out samples: {self._best:.4g}"
        )

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "at": self._at, "epoch": self._epoch, "state": self._state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best, self._at, self._epoch = state["best"], state["at"], state["epoch"]
        self._state = state["state"]

    def _measured(self) -> float:
        """The mean loss on the held-out samples."""
        import torch

        self._module.eval()
        total = 0.0
        with one_thread(), torch.no_grad():
            for inputs, targets in self._split.epoch(self._options.batch_size, lambda n: self._held):
                loss = self._objective(inputs, forward(self._module, inputs), targets)
                total += loss.item() * count(inputs)
        return total / len(self._held)
