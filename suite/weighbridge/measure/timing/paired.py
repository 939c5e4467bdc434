"""Two calls against each other on a noisy machine: how many times faster is one, and how sure is that?

Both calls run in short blocks (`blocks.Blocks`) in alternation, and neighbouring blocks make a pair. Pairs for
which there were too few undisturbed moments are left out. The ratio of what the others took at their fastest is
the estimate; its interval (`pairs.Pairs`) needs no noise model and may be looked at after every pair, so sampling
stops as soon as the interval clears the limits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from weighbridge.core import stats
from weighbridge.measure.timing.blocks import Blocks
from weighbridge.measure.timing.clock import Call, Clock, Floats, calibrated, garbage_held, warm_up
from weighbridge.measure.timing.cores import Cores
from weighbridge.measure.timing.gauge import Gauge, NoGauge
from weighbridge.measure.timing.pairs import Level, Pair, Pairs

PATIENCE = 1 / 60
"""How long a block may wait for undisturbed moments, as a share of the budget. On a machine that has none, about 25
pairs are still measured."""
IMPATIENCE = 1 / 10
"""The same as a share of the time since sampling began, which is the shorter one at first: a difference that is far
from the limit can be decided without any undisturbed moment, and should not have to wait for one."""
LEAST_S = 0.25
"""How long to sample at least. Whatever slows the machine for a while is in all pairs of that while, so a few
milliseconds of pairs that agree prove nothing."""
FEW = 10
"""With fewer pairs than this there is no interval at the default confidence, and even the fastest of them may have been
slowed."""
WORTH_WAITING = 80_000
"""If more pairs than this would be needed, no budget is suggested: the speedup is practically equal to the limit."""


@dataclass(frozen=True)
class SpeedSample:
    """What `compare` saw. Times are seconds a call; a ratio is the baseline's over the candidate's."""

    pairs: Pairs
    baseline_rounds: Floats
    candidate_rounds: Floats
    """Every timed round."""
    disturbed: float
    """The share of units that something else slowed, in [0, 1]."""
    limits: tuple[float, ...]
    confidence: float
    budget_s: float
    seconds: float
    """From the first call of the warm-up to the verdict."""

    @property
    def ratio(self) -> float:
        """Of the undisturbed blocks at their fastest. Of too few for an interval, of the fastest rounds of all:
        a neighbour only ever adds time."""
        if self.pairs.ratios.size >= FEW:
            baseline_s, candidate_s = self.pairs.call_s()
        else:
            baseline_s, candidate_s = float(self.baseline_rounds.min()), float(self.candidate_rounds.min())
        return float(np.clip(baseline_s / candidate_s, *self.interval))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Anytime-valid, two-sided at `confidence`; infinite ends while there are too few pairs."""
        return self.pairs.interval(self.confidence)

    def sure(self, limit: float) -> float:
        """The largest confidence, in [0, 1), at which the pairs lie on one side of `limit`; 0 if they contradict."""
        met, missed = (1.0 - 2.0 * math.exp(-evidence) for evidence in self.pairs.evidence(limit))
        # Rounded up to 1 it would read as exact.
        return (
            0.0
            if min(met, missed) >= self.confidence
            else min(max(0.0, met, missed), math.nextafter(1.0, 0.0))
        )

    @property
    def decided(self) -> bool:
        """Whether the interval clears every limit."""
        return stats.clears(self.interval, self.limits, "min")

    @property
    def lost(self) -> float:
        """The share of the time spent in timed rounds that others took, in [0, 1)."""
        rounds = self.baseline_rounds, self.candidate_rounds
        needed = sum(call_s * side.size for call_s, side in zip(self.pairs.call_s(), rounds, strict=True))
        return max(0.0, 1.0 - needed / float(sum(side.sum() for side in rounds)))

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
        needed = [self.pairs.needed(limit, self.confidence, WORTH_WAITING) for limit in open_limits]
        if None not in needed:
            # Half as much more than computed, because the share of votes on either side is an estimate too.
            wanted_s = (
                1.5 * self.seconds * max(count for count in needed if count) / len(self.pairs.slowdowns)
            )
            advice.append(f"a budget of about {_round_up(max(wanted_s, 1.5 * self.budget_s))} s")
        if math.isfinite(low) and math.isfinite(high):
            advice.append(
                f"a limit of {_floor(low)}, which is met, or one above {_floor(high)}, which is not"
            )
        return tuple(advice)


def compare(
    baseline: Call,
    candidate: Call,
    limits: Sequence[float] = (),
    confidence: float = 0.99,
    budget_s: float = 3.0,
    *,
    gauge: Gauge | None = None,
    cores: Cores | None = None,
    clock: Clock = time.perf_counter_ns,
    seed: int = 0,
) -> SpeedSample:
    """Time `baseline` against `candidate` until the interval clears every limit or `budget_s` is spent.

    Without limits the whole budget is spent. At least one pair is timed, even if it takes longer than the budget.
    Without a `gauge` every pair counts as undisturbed; without `cores` the thread stays where it is.
    """
    begin = clock()
    gauge, level, look = gauge or NoGauge(), Level(), 0
    pairs = list[Pair]()
    with garbage_held():
        calls = (baseline, candidate)
        calls_s = [warm_up(call, budget_s / 10, clock) for call in calls]
        sides = [Blocks(timer, gauge, cores) for timer in calibrated(calls, calls_s, clock)]
        sampling = clock()
        for order in _orders(seed):
            patience_s = min(PATIENCE * budget_s, IMPATIENCE * (clock() - sampling) / 1e9)
            for side in order:
                sides[side].search(patience_s)
            quiet = all(side.ready for side in sides)
            a, b = (side.block() if quiet else side.disturbed for side in sides)
            pairs.append(Pair(a, b, level.before(a.fastest, b.fastest) if quiet else math.nan))
            # Computing the evidence takes time as well, so it is done after every twentieth part of new pairs.
            if limits and len(pairs) >= look and clock() - sampling >= LEAST_S * 1e9:
                seen = Pairs.of(pairs, gauge.best)
                if all(seen.cleared(limit, confidence) for limit in limits):
                    break
                look = math.ceil(1.05 * len(pairs))
            now = clock()
            if now + (now - sampling) / len(pairs) - begin > budget_s * 1e9:
                break
    return SpeedSample(
        pairs=Pairs.of(pairs, gauge.best),
        baseline_rounds=np.concatenate(sides[0].rounds),
        candidate_rounds=np.concatenate(sides[1].rounds),
        disturbed=sum(side.rejected for side in sides) / sum(len(side.rounds) for side in sides),
        limits=tuple(limits),
        confidence=confidence,
        budget_s=budget_s,
        seconds=(clock() - begin) / 1e9,
    )


def _orders(seed: int) -> Iterator[tuple[int, int]]:
    """Sides 0110 or 1001 by the toss of a coin: either cancels a drift, and the toss a neighbour's rhythm."""
    coin = np.random.default_rng(seed)
    while True:
        yield from ((0, 1), (1, 0)) if coin.random() < 0.5 else ((1, 0), (0, 1))


def _round_up(value: float) -> str:
    """To two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / unit) * unit:.6g}"


def _floor(ratio: float) -> str:
    """Down to three decimals, so that what is said to be met is."""
    return f"{math.floor(ratio * 1000) / 1000:g}"
