"""Pairs of blocks, one of either call, and what they say about how many times faster one call is.

Each pair votes twice on a limit, for "the candidate is at least that many times faster" or against it.

- By ratio: the ratio of its two blocks lies on one side of the limit. A clock that drifts slows both blocks alike, so
  it cannot turn this vote; something that slows only one of the blocks can.
- By level: both blocks are compared with a recent undisturbed time (`Level`), the baseline's with that time multiplied
  by the square root of the limit and the candidate's with it divided by that. If the baseline's block is the slower
  and the candidate's the faster, the vote is for the limit, if it is the other way round against it. If both are
  slower or both faster, the vote is void: where something slowed one block, this drops the pair instead of
  counting it on the wrong side.

Neither is better everywhere: a clock that keeps changing voids most votes by level. `evidence` averages the two.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from weighbridge.core import stats
from weighbridge.measure.timing.blocks import Block
from weighbridge.measure.timing.clock import Floats
from weighbridge.measure.timing.gauge import DISTURBED

if TYPE_CHECKING:
    from numpy.typing import NDArray

Bools: TypeAlias = "NDArray[np.bool_]"

FASTEST = 0.1
"""The share of the undisturbed blocks that the estimate is read from. It is small because the gauge misses what is
shorter than a unit: on a shared core half of the blocks that it calls undisturbed have still lost a percent."""
RECENT = 64
"""How many pairs a level is taken from. With fewer it varies by chance, with more it lags behind a changing clock."""
UNLIKE = 2.0
"""A neighbour slows one model at most this many times as much as the other; 1.4 is the most that we have measured."""
WEIGHTS = np.log([0.45, 0.45, 0.1])
"""Logarithms of the weights of the votes by level, by ratio and by `UNLIKE`. The last are of all pairs, disturbed or
not, whose ratio is more than `UNLIKE` times away from the limit. Their weight is small, so they decide only where a
machine is never undisturbed."""


class Pair(NamedTuple):
    baseline: Block
    candidate: Block
    level: float
    """Seconds a call."""


class Level:
    """What an undisturbed call has taken lately: the geometric mean of both calls' times, in seconds.

    Of each call it is the time at the fastest tenth (`FASTEST`) of the last `RECENT` pairs.
    """

    def __init__(self) -> None:
        self._recent: tuple[deque[float], deque[float]] = deque(maxlen=RECENT), deque(maxlen=RECENT)

    def before(self, baseline: float, candidate: float) -> float:
        """The level without this pair, which must not be compared with itself; only a first pair has nothing else."""
        times = []
        for recent, now in zip(self._recent, (baseline, candidate), strict=True):
            times.append(sorted(recent)[int(FASTEST * len(recent))] if recent else now)
            recent.append(now)
        return math.sqrt(math.prod(times))


@dataclass(frozen=True)
class Pairs:
    """In the order taken, each of shape [pairs]."""

    baseline: Floats
    candidate: Floats
    """Seconds a call: the fastest round of each block."""
    levels: Floats
    """Seconds a call."""
    slowdowns: Floats
    """The slowest reading of the gauge around the units of each pair, 1.0 at best."""

    @classmethod
    def of(cls, pairs: Iterable[Pair], best: float) -> Pairs:
        """`best` is the gauge's, as known by now."""
        rows = [(a.fastest, b.fastest, level, max(a.reading, b.reading) / best) for a, b, level in pairs]
        return cls(*np.array(rows, dtype=float).T)

    @cached_property
    def undisturbed(self) -> Bools:
        return self.slowdowns <= DISTURBED

    @cached_property
    def ratios(self) -> Floats:
        """The baseline's time over the candidate's, of the undisturbed pairs."""
        return (self.baseline / self.candidate)[self.undisturbed]

    def call_s(self) -> tuple[float, float]:
        """Seconds a call of baseline and candidate: of undisturbed blocks the fastest tenth, or the fastest of all."""
        kept = self.undisturbed
        sides = (self.baseline, self.candidate)
        baseline, candidate = (
            np.quantile(side[kept], FASTEST) if kept.any() else side.min() for side in sides
        )
        return float(baseline), float(candidate)

    @cached_property
    def _ways(self) -> tuple[tuple[Floats, Floats], ...]:
        """For each way of voting two arrays of shape [pairs]: a pair votes for every limit up to its first number and
        against every limit above its second. For limits in between its vote is void.
        """
        by_baseline = ((self.baseline / self.levels) ** 2)[self.undisturbed]
        by_candidate = ((self.levels / self.candidate) ** 2)[self.undisturbed]
        every = self.baseline / self.candidate
        return (
            (np.minimum(by_baseline, by_candidate), np.maximum(by_baseline, by_candidate)),
            (self.ratios, self.ratios),
            (every / UNLIKE, every * UNLIKE),
        )

    def evidence(self, limit: float) -> tuple[float, float]:
        """log e-values: that the candidate is at least `limit` times faster, and that it is not.

        The average of the e-processes of all ways of voting is one itself. Each is `stats.evidence` against a fair
        coin: were the ratio equal to the limit, the two blocks, one divided by it, could change places.
        """
        return _evidence(self.votes(limit))

    def needed(self, limit: float, confidence: float, most: int) -> int | None:
        """About how many pairs it takes to clear `limit`, if they go on to vote as so far.

        None if over `most`, as it is where they contradict each other: more of the same decide nothing.
        """
        votes, total = self.votes(limit), float(len(self.slowdowns))
        while not _clear(_evidence(votes * total / len(self.slowdowns)), confidence):
            total *= 1.05
            if total > most:
                return None
        return math.ceil(total)

    def votes(self, limit: float) -> Floats:
        """How many pairs are for and against it, a row for each way of voting, [ways, 2]."""
        return np.array(
            [((low >= limit).sum(), (high < limit).sum()) for low, high in self._ways], dtype=float
        )

    def interval(self, confidence: float) -> tuple[float, float]:
        """The limits that `evidence` does not rule out, or rules out both ways: anytime-valid, two-sided.

        Each end is at half the error, and infinite while there are too few pairs. Ways of voting that contradict each
        other, since something slows one call more often than the other, leave all between them open.
        """
        needed = math.log(2 / (1 - confidence))
        ends = np.unique(np.concatenate([*(end for way in self._ways for end in way), [math.inf]]))
        met = bisect_left(ends, True, key=lambda end: self.evidence(end)[0] < needed)
        missed = bisect_left(ends[1:], True, key=lambda end: self.evidence(end)[1] >= needed)
        low, high = sorted((float(ends[met - 1]) if met else -math.inf, float(ends[missed])))
        return low, high

    def cleared(self, limit: float, confidence: float) -> bool:
        """Whether `interval` lies on one side of it."""
        return _clear(self.evidence(limit), confidence)


def _clear(evidence: tuple[float, float], confidence: float) -> bool:
    """Whether it is enough, each side at half the error, for one side and for one only."""
    met, missed = (side >= math.log(2 / (1 - confidence)) for side in evidence)
    return met is not missed


def _evidence(votes: Floats) -> tuple[float, float]:
    """Of votes for and against, of shape [ways, 2]."""
    for_, against = (
        np.logaddexp.reduce(
            [stats.evidence(k, total, 0.5) for k, total in zip(side, votes.sum(1), strict=True)] + WEIGHTS
        )
        for side in votes.T
    )
    return float(for_), float(against)
