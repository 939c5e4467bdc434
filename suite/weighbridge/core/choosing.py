"""Which of several recipes of one model to ship: the rules that `try`, `init`, `search` and the reports share."""

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


def beaten(marks: Sequence[tuple[float, float, float]]) -> list[int | None]:
    """For each recipe the place of one that beats it; None where there is none.

    `marks` are how small, how fast and how good it is, more being better. What beats it is worse in nothing, and better in
    something: in speed by more than loads would make.
    """

    def beats(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
        if any(mine < theirs for mine, theirs in zip(one, other, strict=True)):
            return False
        return one[0] > other[0] or one[2] > other[2] or SAME * one[1] > other[1]

    return [next((place for place, one in enumerate(marks) if beats(one, mine)), None) for mine in marks]
