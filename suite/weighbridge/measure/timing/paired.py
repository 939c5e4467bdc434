"""Two models against each other on a noisy machine: how many times faster is one, and how sure is that?

Both are loaded again and again (`loads.gather`), and within a load their calls run in short blocks in alternation
(`load.take_pairs`). A load's ratio is what its undisturbed blocks took at their fastest, and it is one observation; the
estimate is the median of the loads. Its interval needs no noise model and may be looked at after every load, so sampling
stops as soon as it clears the limits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from weighbridge.core import stats
from weighbridge.measure.timing.clock import Clock, Floats
from weighbridge.measure.timing.load import PairedLoad
from weighbridge.measure.timing.loads import WORTH_WAITING, Elsewhere, Take, gather
from weighbridge.measure.timing.pairs import Pairs
from weighbridge.measure.timing.votes import Votes, Way

LOADS_MOVE = 1.25
"""A load moves a ratio at most this many times; 1.05 is the most that we have measured. Of the pairs of few loads that
is all that can be said about the model."""
UNLIKE = 2.0
"""A neighbour slows one model at most this many times as much as the other; 1.4 is the most that we have measured."""
BY_LOAD, BY_PAIR, BY_ANY = 0.8, 0.1, 0.1
"""The weights of the loads' ratios, of the undisturbed pairs that are more than `LOADS_MOVE` times away from a limit, and
of all pairs that are more than `UNLIKE` times away. The last two are small, so they decide only what is far away, where
loads are few or the machine is never undisturbed."""


@dataclass(frozen=True)
class SpeedSample:
    """What `compare` saw. Times are seconds a call; a ratio is the baseline's over the candidate's."""

    loads: tuple[PairedLoad, ...]
    processes: int
    """How many processes the loads were in."""
    limits: tuple[float, ...]
    confidence: float
    budget_s: float
    seconds: float
    """From the first load to the verdict."""

    @cached_property
    def by_load(self) -> tuple[Pairs, ...]:
        """The pairs of each load."""
        best = min(load.best for load in self.loads)
        return tuple(load.seen(best) for load in self.loads)

    @cached_property
    def ratios(self) -> Floats:
        """Of each load that had an undisturbed moment, shape [loads]."""
        times = [pairs.call_s() for pairs in self.by_load if pairs.ratios.size]
        return np.array([baseline_s / candidate_s for baseline_s, candidate_s in times])

    @cached_property
    def votes(self) -> Votes:
        undisturbed = np.concatenate([pairs.ratios for pairs in self.by_load])
        every = np.concatenate([pairs.every for pairs in self.by_load])
        return Votes(
            (
                Way(self.ratios, self.ratios, BY_LOAD),
                Way(undisturbed / LOADS_MOVE, undisturbed * LOADS_MOVE, BY_PAIR),
                Way(every / UNLIKE, every * UNLIKE, BY_ANY),
            )
        )

    @property
    def ratio(self) -> float:
        """The median of the loads. Where none had an undisturbed moment, of the fastest rounds of all: a neighbour only
        ever adds time."""
        baseline_s, candidate_s = self.rounds(0).min(), self.rounds(1).min()
        ratio = float(np.median(self.ratios)) if self.ratios.size else float(baseline_s / candidate_s)
        return float(np.clip(ratio, *self.interval))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Of the median load: anytime-valid, two-sided at `confidence`; infinite ends while there are too few loads."""
        return self.votes.interval(self.confidence)

    def sure(self, limit: float) -> float:
        """The largest confidence, in [0, 1), at which the median load is on one side of `limit`."""
        return self.votes.sure(limit, self.confidence)

    @property
    def decided(self) -> bool:
        """Whether the interval clears every limit."""
        return stats.clears(self.interval, self.limits, "min")

    @property
    def spread(self) -> float | None:
        """Between loads: the standard deviation of their ratios, as a share of the median."""
        return float(self.ratios.std(ddof=1) / np.median(self.ratios)) if self.ratios.size > 1 else None

    def rounds(self, side: int) -> Floats:
        """Every timed round of baseline (0) or candidate (1), seconds a call."""
        return np.concatenate([load.rounds[side] for load in self.loads])

    def call_s(self) -> tuple[float, float]:
        """Seconds a call of baseline and candidate, in the median load."""
        baseline_s, candidate_s = np.median([pairs.call_s() for pairs in self.by_load], axis=0)
        return float(baseline_s), float(candidate_s)

    @property
    def disturbed(self) -> float:
        """The share of units that something else slowed, in [0, 1]."""
        return sum(load.rejected for load in self.loads) / sum(load.units for load in self.loads)

    @property
    def lost(self) -> float:
        """The share of the time spent in timed rounds that others took, in [0, 1)."""
        needed = sum(
            call_s * rounds.size
            for load, pairs in zip(self.loads, self.by_load, strict=True)
            for call_s, rounds in zip(pairs.call_s(), load.rounds, strict=True)
        )
        return max(0.0, 1.0 - needed / float(self.rounds(0).sum() + self.rounds(1).sum()))

    def would_decide(self) -> tuple[str, ...]:
        """What would turn an inconclusive verdict into one; empty when it is decided."""
        low, high = self.interval
        open_limits = [limit for limit in self.limits if not stats.clears((low, high), (limit,), "min")]
        if not open_limits:
            return ()
        advice = []
        if self.disturbed > 0.5:
            advice.append(
                f"a quieter machine: {self.disturbed:.0%} of the time something else slowed this processor"
            )
        times = [self.votes.times_to_decide(one, self.confidence, WORTH_WAITING) for one in open_limits]
        if None not in times:
            # Half as much more than computed, because the share of votes on either side is an estimate too.
            wanted_s = 1.5 * self.seconds * max(one for one in times if one)
            advice.append(f"a budget of about {_round_up(max(wanted_s, 1.5 * self.budget_s))} s")
        if math.isfinite(low) and math.isfinite(high):
            advice.append(
                f"a limit of {_floor(low)}, which is met, or one above {_floor(high)}, which is not"
            )
        return tuple(advice)


def compare(
    take: Take[PairedLoad],
    limits: Sequence[float] = (),
    confidence: float = 0.99,
    budget_s: float = 3.0,
    *,
    elsewhere: Elsewhere[PairedLoad] | None = None,
    clock: Clock = time.perf_counter_ns,
    seed: int = 0,
) -> SpeedSample:
    """Take loads of baseline and candidate until the interval clears every limit or `budget_s` is spent.

    Without limits the whole budget is spent. `take` takes one here, `elsewhere` some in a fresh process.
    """
    begin = clock()

    def sample(loads: Sequence[PairedLoad], processes: int = 1) -> SpeedSample:
        seconds = (clock() - begin) / 1e9
        return SpeedSample(tuple(loads), processes, tuple(limits), confidence, budget_s, seconds)

    def done(loads: Sequence[PairedLoad]) -> bool:
        votes = sample(loads).votes
        return bool(limits) and all(votes.cleared(limit, confidence) for limit in limits)

    return sample(*gather(take, done, budget_s, elsewhere=elsewhere, clock=clock, seed=seed))


def _round_up(value: float) -> str:
    """To two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / unit) * unit:.6g}"


def _floor(ratio: float) -> str:
    """Down to three decimals, so that what is said to be met is."""
    return f"{math.floor(ratio * 1000) / 1000:g}"
