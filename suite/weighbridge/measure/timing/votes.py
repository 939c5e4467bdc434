"""Observations held against a limit: for it, against it, and how sure that makes.

An observation is a number, or a range where all that is known is that the number lies in it. What is judged is a
quantile of the numbers, the median unless said otherwise: were it below the limit, at most a share of 1 - quantile of
them would reach the limit. `stats.evidence` tests that, valid whenever one looks.

There may be several ways to observe the same quantile, each with its weight: the average of e-processes is one itself
(Vovk and Wang 2021, Ann. Statist. 49:1736), so a way that decides nothing costs its weight and no more.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from weighbridge.core import stats
from weighbridge.measure.timing.clock import Floats


@dataclass(frozen=True)
class Way:
    """Observations of one kind. `low` and `high` are the ends of their ranges, of shapes [n] and [m].

    The two need not be of the same observations: an undisturbed call bounds a time from below, any call from above.
    """

    low: Floats
    high: Floats
    weight: float = 1.0
    quantile: float = 0.5

    def evidence(self, limit: float, times: float = 1.0) -> tuple[float, float]:
        """log e-values that the quantile is at least `limit`, and that it is less, of `times` as many observations."""
        sides = (
            ((self.low >= limit).sum(), self.low.size, 1 - self.quantile),
            ((self.high < limit).sum(), self.high.size, self.quantile),
        )
        met, missed = (stats.evidence(times * votes, times * size, null) for votes, size, null in sides)
        return float(met) + math.log(self.weight), float(missed) + math.log(self.weight)


@dataclass(frozen=True)
class Votes:
    """What all ways together say. Their weights add up to 1 at most."""

    ways: tuple[Way, ...]

    def evidence(self, limit: float, times: float = 1.0) -> tuple[float, float]:
        """log e-values that the quantile is at least `limit`, and that it is less."""
        met, missed = zip(*(way.evidence(limit, times) for way in self.ways), strict=True)
        return float(np.logaddexp.reduce(met)), float(np.logaddexp.reduce(missed))

    def interval(self, confidence: float) -> tuple[float, float]:
        """The limits that `evidence` does not rule out, or rules out both ways: anytime-valid, two-sided.

        Each end is at half the error, and infinite while there are too few observations.
        """
        needed = math.log(2 / (1 - confidence))
        every = [end for way in self.ways for end in (way.low, way.high)]
        ends = np.unique(np.concatenate([*every, [math.inf]]))
        met = bisect_left(ends, True, key=lambda end: self.evidence(end)[0] < needed)
        missed = bisect_left(ends[1:], True, key=lambda end: self.evidence(end)[1] >= needed)
        low, high = sorted((float(ends[met - 1]) if met else -math.inf, float(ends[missed])))
        return low, high

    def cleared(self, limit: float, confidence: float) -> bool:
        """Whether `interval` lies on one side of it."""
        return _clear(self.evidence(limit), confidence)

    def sure(self, limit: float, confidence: float) -> float:
        """The largest confidence, in [0, 1), at which they lie on one side of `limit`; 0 if they contradict each other
        at `confidence`."""
        met, missed = (1.0 - 2.0 * math.exp(-evidence) for evidence in self.evidence(limit))
        if min(met, missed) >= confidence:
            return 0.0
        # Rounded up to 1 it would read as exact.
        return min(max(0.0, met, missed), math.nextafter(1.0, 0.0))

    def times_to_decide(self, limit: float, confidence: float, most: float) -> float | None:
        """How many times as many observations it takes to clear `limit`, if they go on to vote as so far.

        None if over `most`, as it is where they contradict each other: more of the same decide nothing.
        """
        times = 1.0
        while not _clear(self.evidence(limit, times), confidence):
            times *= 1.05
            if times > most:
                return None
        return times


def _clear(evidence: tuple[float, float], confidence: float) -> bool:
    """Whether it is enough, each side at half the error, for one side and for one only."""
    met, missed = (side >= math.log(2 / (1 - confidence)) for side in evidence)
    return met is not missed
