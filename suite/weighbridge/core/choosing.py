"""Which of several recipes of one model to ship: the rule that `try`, `init` and the table share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SAME = 0.95
"""Ratios that are nearer to each other are taken for equal: loads move a speed by some percent."""


@dataclass(frozen=True)
class Gain:
    """What a recipe brings, and whether it keeps its limits."""

    size_ratio: float
    """How many times smaller."""
    speedup: float | None
    """How many times faster; None where speed was not measured."""
    quality: tuple[float, ...]
    """More is better, among recipes of one model."""
    holds: bool

    @property
    def total(self) -> float:
        """Times smaller, times faster: one number for both."""
        return self.size_ratio * (self.speedup or 1.0)


def recommended(gains: Sequence[Gain]) -> int | None:
    """Of those that hold, and are neither larger nor slower, the place of the one that gains most; None where none does.

    Among gains that differ by less than speeds do from load to load, the one that loses least.
    """
    helping = [
        (place, one)
        for place, one in enumerate(gains)
        if one.holds and one.size_ratio >= 1 and (one.speedup or 1.0) >= SAME and one.total > 1
    ]
    most = max((one.total for _, one in helping), default=0.0)
    near = [(one.quality, -place) for place, one in helping if one.total >= SAME * most]
    return -max(near)[1] if near else None
