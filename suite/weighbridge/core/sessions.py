"""An artifact that an engine has opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from weighbridge.core.arrays import Array, Inputs


class Session(Protocol):
    """An artifact opened by an engine."""

    def run(self, inputs: Inputs) -> tuple[Array, ...]:
        """The outputs for one batch, as float (or integer) arrays of shape [N, ...]."""
        ...

    def bind(self, inputs: Inputs) -> Callable[[], object]:
        """A call without arguments that runs this batch once: what the speed measurement times."""
        ...


@runtime_checkable
class FixedBatch(Protocol):
    """A session whose file may have been exported for batches of one size."""

    def filled(self, inputs: Inputs) -> int:
        """How many samples a run of this batch computes beside those of the batch."""
        ...


@dataclass(frozen=True)
class Mixed:
    """A model with one layer as its quantized (or pruned) twin has it, opened.

    `layer` is what a step's `exclude` may call it, `kind` the operator or layer type.
    """

    layer: str
    kind: str
    session: Session
