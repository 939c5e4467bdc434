"""Gradual pruning of a torch module: it is trained while more and more of its smallest weights become zeros.

`polynomial_decay` is Zhu & Gupta, To Prune, or Not to Prune, 2017: fast while much is left to choose from, slow at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.core.errors import StageError
from weighbridge.steps.prune.options import PruneOptions
from weighbridge.steps.prune.ranking import Kept, rank
from weighbridge.steps.prune.torch_weights import as_weight
from weighbridge.steps.prune.weights import Opened, pruned
from weighbridge.steps.selection import LayerOptions
from weighbridge.steps.torch_layers import WeightLayer, chosen_layers, working_copy
from weighbridge.steps.train.finetune import keep_zeros, pruned_weights
from weighbridge.steps.train.training import TrainingOptions, count_steps, train

if TYPE_CHECKING:
    from weighbridge.contracts import Array


class GradualOptions(TrainingOptions, LayerOptions):
    amount: float = Field(
        0.5, gt=0, lt=1, description="The fraction of the weights that are zeros in the end."
    )
    scope: Literal["local", "global"] = Field(
        "local", description="Rank within each layer, or across all of them."
    )
    schedule: Literal["constant", "polynomial_decay", "cosine"] = Field(
        "polynomial_decay",
        description="How the fraction grows from `initial` to `amount`; constant: at once, at `begin`.",
    )
    initial: float = Field(0.0, ge=0, lt=1, description="The fraction at `begin`, where it grows.")
    begin: float = Field(0.0, ge=0, lt=1, description="The share of the training after which pruning begins.")
    end: float = Field(
        0.75, gt=0, le=1, description="The share of the training after which nothing more is pruned."
    )
    frequency: int = Field(10, ge=1, description="Training steps between two prunings.")

    @model_validator(mode="after")
    def _consistent(self) -> GradualOptions:
        if self.schedule == "constant" and {"initial", "end"} & self.model_fields_set:
            raise ValueError("`initial` and `end` belong to a schedule that grows")
        if self.initial >= self.amount:
            raise ValueError("`initial` must be below `amount`")
        if self.schedule != "constant" and self.begin >= self.end:
            raise ValueError("`begin` must be before `end`")
        return self


def gradual(model: Model, options: GradualOptions, context: Context) -> Model:
    """Train on the split `train`, and prune on the way; see `training.train`, whose errors it raises.

    Zeros of an earlier step stay, as in fine-tuning, and count.
    """
    module = working_copy(model, "prune")
    layers, notes = chosen_layers(module, options)
    steps = count_steps(options, context)
    begin, end = math.ceil(options.begin * steps), math.floor(options.end * steps)
    end = begin if options.schedule == "constant" else end
    if options.schedule != "constant" and end <= begin:
        raise StageError(
            "prune", f"the training has {steps} steps, too few to prune gradually: raise `epochs`"
        )
    gone = _Gone()
    before = pruned_weights(module, model.source.get("zeros", {}))

    last = max(end, 1)

    def due(done: int) -> bool:
        return done == last or (begin <= done < end and (done - begin) % options.frequency == 0)

    def after_batch(done: int) -> None:
        gone.passed = done
        keep_zeros(before)
        if due(done):
            share = sparsity(options, (done - begin) / max(end - begin, 1))
            gone.kept.update(_smallest(layers, options, share))
        for layer in layers:
            if layer.label in gone.kept:
                as_weight(layer).keep(gone.kept[layer.label])

    train(module, options, context, "prune", after_batch=after_batch, parts={"gone": gone})
    if gone.passed < last:
        raise StageError(
            "prune",
            f"the training had {gone.passed} steps where a first reading of the data gave {steps}, and pruning would have ended "
            f"at step {last}: a loader of varying length cannot be pruned by a schedule",
        )
    weights = [as_weight(layer) for layer in layers]
    opened = Opened(Model("torch", module.eval(), model.source, model.notes), weights, notes)
    first = next(filter(due, range(1, last + 1)))
    said = f"pruned from step {first} to {last} of {steps} ({options.schedule})"
    return pruned(opened, [(weight, gone.kept[weight.label]) for weight in weights], [said])


class _Gone:
    """What was pruned so far: which weights each layer keeps, by its label, and after how many steps of training."""

    def __init__(self) -> None:
        self.kept: dict[str, Array] = {}
        self.passed = 0

    def state_dict(self) -> dict[str, Any]:
        import torch

        kept = {label: torch.from_numpy(mask) for label, mask in self.kept.items()}
        return {"kept": kept, "passed": self.passed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kept = {label: mask.numpy() for label, mask in state["kept"].items()}
        self.passed = state["passed"]


def sparsity(options: GradualOptions, progress: float) -> float:
    """The fraction of zeros when so much of the pruning is done, from 0 to 1."""
    left = {
        "constant": 0.0,
        "polynomial_decay": (1 - progress) ** 3,
        "cosine": 0.5 + 0.5 * math.cos(math.pi * progress),
    }[options.schedule]
    return options.amount + (options.initial - options.amount) * left


def _smallest(layers: Sequence[WeightLayer], options: GradualOptions, share: float) -> Kept:
    """What stays of each weight. Zeros rank lowest, so that what went before stays zero."""
    if share <= 0:
        return {}
    scores = {layer.label: abs(as_weight(layer).numbers) for layer in layers}
    return rank(scores, PruneOptions(amount=share, scope=options.scope), "weights")[0]


STEPS.add(
    "prune:gradual",
    Step("prune", "gradual", ("torch",), GradualOptions, gradual, must="sparsify", splits=("train",)),
)
