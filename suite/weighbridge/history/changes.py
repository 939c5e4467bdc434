"""Change points: where a series of numbers, one a run, became another series.

E-divisive (Matteson and James 2014, JASA 109:334; used on benchmarks by Daly et al. 2020, ICPE). It assumes no
distribution, its significance is a permutation test, whose level is the share of false alarms, and needs no penalty to be
tuned as the methods of `ruptures` do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVEL = 0.005
"""Of a false alarm in a series that has no change."""
PERMUTATIONS = 999
SHORTEST = 4
"""Runs on either side of a change: of fewer, no order of them would be unlikely enough to tell."""


@dataclass(frozen=True)
class Change:
    """`start` is the first index of what is new; `before` and `after` are medians."""

    start: int
    before: float
    after: float
    stretch: tuple[int, int]
    """The runs that were compared: first index of those before, and the end of those after."""


def change_points(values: Sequence[float], level: float = LEVEL) -> list[Change]:
    """The changes of a series, in order. The same values always give the same ones."""
    array = np.asarray(values, dtype=float)
    generator = np.random.default_rng(0)
    borders = sorted(_split(array, 0, len(array), level, generator))
    ends = [0, *borders, len(array)]
    return [
        Change(
            start,
            float(np.median(array[ends[index] : start])),
            float(np.median(array[start : ends[index + 2]])),
            (ends[index], ends[index + 2]),
        )
        for index, start in enumerate(borders)
    ]


def _split(array: Any, low: int, high: int, level: float, generator: np.random.Generator) -> list[int]:
    """The borders inside of `array[low:high]`: the best one where it is significant, then those on its two sides."""
    part = array[low:high]
    if len(part) < 2 * SHORTEST or np.ptp(part) == 0:
        return []
    distances = np.abs(part[:, None] - part[None, :])
    found, at = _best(distances)
    if not _significant(distances, found, level, generator):
        return []
    middle = low + at
    left = _split(array, low, middle, level, generator)
    return [*left, middle, *_split(array, middle, high, level, generator)]


def _significant(distances: Any, found: float, level: float, generator: np.random.Generator) -> bool:
    """Whether so good a border is rare among the same values in other orders. It stops once it cannot be any more."""
    allowed = int(level * (PERMUTATIONS + 1)) - 1
    as_good = 0
    for _ in range(PERMUTATIONS):
        order = generator.permutation(len(distances))
        as_good += _best(distances[np.ix_(order, order)])[0] >= found * (1 - 1e-12)
        if as_good > allowed:
            return False
    return True


def _best(distances: Any) -> tuple[float, int]:
    """The largest energy statistic, and its border t: values [0, t) against [t, k), over all t and k.

    `k` below the end lets a border be found where a later one takes the series back.
    """
    n = len(distances)
    sums = np.zeros((n + 1, n + 1))
    sums[1:, 1:] = distances.cumsum(axis=0).cumsum(axis=1)
    border, end = np.arange(SHORTEST, n - SHORTEST + 1)[:, None], np.arange(2 * SHORTEST, n + 1)[None, :]
    left, right = border, end - border
    inside_left = sums[border, border]
    between = sums[border, end] - inside_left
    inside_right = sums[end, end] - inside_left - 2 * between
    with np.errstate(divide="ignore", invalid="ignore"):
        energy = (
            2 * between / (left * right)
            - inside_left / (left * (left - 1))
            - inside_right / (right * (right - 1))
        )
        score = np.where(right >= SHORTEST, left * right / (left + right) * energy, -np.inf)
    place = int(np.argmax(score))
    return float(score.flat[place]), SHORTEST + place // score.shape[1]
