"""A checkpoint an epoch, from which a training that was killed goes on as if it had not been."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from weighbridge.core.unfinished import clear_abandoned, unfinished

if TYPE_CHECKING:
    import torch

_PREFIX = "checkpoint-"


class Stateful(Protocol):
    """What a checkpoint holds the state of: tensors, numbers, and containers of them."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Any) -> Any: ...


@dataclass(frozen=True)
class Passed:
    """How far a training has come."""

    epochs: int = 0
    batches: int = 0
    over: bool = False
    """Whether it ended before its last epoch, as it was asked to."""


class Drawing:
    """The random numbers that a training draws: its own order, and those of torch, numpy and Python, as dropout and a user's
    loader do.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def state_dict(self) -> dict[str, Any]:
        import torch

        drawn = np.random.get_state(legacy=False)
        drawn["state"]["key"] = drawn["state"]["key"].tolist()
        return {
            "order": self._generator.get_state(),
            "torch": torch.get_rng_state(),
            "numpy": drawn,
            "python": random.getstate(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        import torch

        self._generator.set_state(state["order"])
        torch.set_rng_state(state["torch"])
        np.random.set_state(state["numpy"])
        random.setstate(state["python"])


class Unsaved:
    """A module's buffers that its own `state_dict` leaves out (`persistent=False`)."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module

    def state_dict(self) -> dict[str, Any]:
        saved = self._module.state_dict().keys()
        return {name: buffer for name, buffer in self._module.named_buffers() if name not in saved}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        held = dict(self._module.named_buffers())
        for name, value in state.items():
            if name in held and held[name].shape == value.shape:
                held[name].copy_(value)
            else:  # it came, or grew, while the module was trained
                layer, _, attribute = name.rpartition(".")
                self._module.get_submodule(layer).register_buffer(attribute, value, persistent=False)


class Unreadable(Exception):
    """What stands in a checkpoint's place is cut, or holds more than tensors and numbers."""


class Checkpoint:
    """The last epoch's state of `parts`, in `folder`; without one, nothing is kept and nothing is found."""

    def __init__(self, folder: Path | None, parts: Mapping[str, Stateful]) -> None:
        self._folder, self._parts = folder, parts

    def keep(self, passed: Passed) -> None:
        """Write it whole or not at all: a run may be killed here too."""
        import torch

        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        states = {name: part.state_dict() for name, part in self._parts.items()}
        writing = unfinished(self._folder, _PREFIX)
        torch.save({"passed": asdict(passed), "states": states}, writing)
        writing.replace(self._path(self._folder))

    def resume(self) -> Passed:
        """Put back what was kept, and tell how far that was. It is read as tensors and numbers: no code of it is run.

        Raises `Unreadable` before anything is put back.
        """
        import torch

        if self._folder is None or not self._path(self._folder).is_file():
            return Passed()
        clear_abandoned(self._folder, _PREFIX)
        try:
            kept = torch.load(self._path(self._folder), map_location="cpu", weights_only=True)
        except Exception as error:  # torch and pickle raise what they like for bytes that are none of theirs
            raise Unreadable(
                f"the checkpoint of a run that was ended cannot be read ({type(error).__name__})"
            ) from error
        for name, part in self._parts.items():
            part.load_state_dict(kept["states"][name])
        return Passed(**kept["passed"])

    @staticmethod
    def _path(folder: Path) -> Path:
        return folder / "epoch.pt"
