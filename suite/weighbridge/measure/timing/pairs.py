"""Pairs of blocks, one of either call, taken one right after the other: a clock that drifts slows both alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from weighbridge.measure.timing.blocks import Block
from weighbridge.measure.timing.clock import Floats
from weighbridge.measure.timing.gauge import DISTURBED

if TYPE_CHECKING:
    from numpy.typing import NDArray

Bools: TypeAlias = "NDArray[np.bool_]"

FASTEST = 0.1
"""The share of the undisturbed blocks that the estimate is read from. It is small because the gauge misses what is
shorter than a unit: on a shared core half of the blocks that it calls undisturbed have still lost a percent."""


class Pair(NamedTuple):
    baseline: Block
    candidate: Block


@dataclass(frozen=True)
class Pairs:
    """In the order taken, each of shape [pairs]."""

    baseline: Floats
    candidate: Floats
    """Seconds a call: the fastest round of each block."""
    slowdowns: Floats
    """The slowest reading of the gauge around the units of each pair, 1.0 at best."""

    @classmethod
    def of(cls, pairs: Iterable[Pair], best: float) -> Pairs:
        """`best` is the gauge's, as known by now."""
        rows = [(a.fastest, b.fastest, max(a.reading, b.reading) / best) for a, b in pairs]
        return cls(*np.array(rows, dtype=float).T)

    @cached_property
    def undisturbed(self) -> Bools:
        return self.slowdowns <= DISTURBED

    @cached_property
    def every(self) -> Floats:
        """The baseline's time over the candidate's, of all pairs."""
        return self.baseline / self.candidate

    @cached_property
    def ratios(self) -> Floats:
        """The same of the undisturbed pairs."""
        return self.every[self.undisturbed]

    def call_s(self) -> tuple[float, float]:
        """Seconds a call of baseline and candidate: of undisturbed blocks the fastest tenth, or the fastest of all."""
        kept = self.undisturbed
        sides = (self.baseline, self.candidate)
        baseline, candidate = (
            np.quantile(side[kept], FASTEST) if kept.any() else side.min() for side in sides
        )
        return float(baseline), float(candidate)
