"""Two calls against each other on a noisy machine: how many times faster is one, and how sure is that?

Both calls run in short blocks (`blocks.Blocks`) in alternation, and each pair of neighbouring blocks gives one
ratio. Pairs for which there were too few undisturbed moments are left out. The median of the others is the
estimate; its interval (`stats.sequential_interval`) needs no noise model and may be looked at after every pair,
so sampling stops as soon as the interval clears the limits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from weighbridge import stats
from weighbridge.measure.blocks import Block, Blocks
from weighbridge.measure.cores import Cores
from weighbridge.measure.gauge import DISTURBED, Gauge, NoGauge
from weighbridge.measure.timing import Call, Clock, Floats, calibrated, garbage_held, warm_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

Bools: TypeAlias = "NDArray[np.bool_]"

PATIENCE = 1 / 60
"""A block looks for undisturbed moments for this part of the budget: where there are none, some 25 pairs remain."""
IMPATIENCE = 1 / 10
"""To begin with it does so for this part of the time gone by: what is plain needs no undisturbed moment."""
UNLIKE = 2.0
"""A neighbour slows one model at most so many times as much as another; 1.4 is the most that was seen."""
WIDE = 0.1
"""The share of the error that the widened pairs spend: they matter where there is no other evidence at all."""
FEW = 10
"""Fewer pairs have no interval at the default confidence, and their median is that of bad luck."""
WORTH_WAITING = 80_000
"""More pairs than this are no advice: the limit is where the speedup is."""


@dataclass(frozen=True)
class SpeedSample:
    """What `compare` saw. Times are seconds a call; a ratio is the baseline's over the candidate's."""

    baseline_blocks: Floats
    candidate_blocks: Floats
    """The fastest round of each block, in the order taken, shape [pairs]."""
    slowdowns: Floats
    """The slowest reading of the gauge around the units of each pair, 1.0 at best, shape [pairs]."""
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
    def ratios(self) -> Floats:
        """Of the undisturbed pairs, in the order taken."""
        return self._all_ratios[self.slowdowns <= DISTURBED]

    @property
    def _all_ratios(self) -> Floats:
        return self.baseline_blocks / self.candidate_blocks

    @property
    def ratio(self) -> float:
        """The median of the undisturbed pairs. Of too few for an interval, the ratio of the fastest rounds of all:
        a neighbour only ever adds time."""
        if self.ratios.size >= FEW:
            return float(np.median(self.ratios))
        return float(np.clip(self.baseline_rounds.min() / self.candidate_rounds.min(), *self.interval))

    def call_s(self) -> tuple[float, float]:
        """Seconds a call of baseline and candidate: the median undisturbed block, or the fastest of all."""
        kept = self.slowdowns <= DISTURBED
        sides = (self.baseline_blocks, self.candidate_blocks)
        baseline, candidate = (np.median(side[kept]) if kept.any() else side.min() for side in sides)
        return float(baseline), float(candidate)

    @property
    def interval(self) -> tuple[float, float]:
        """Anytime-valid, two-sided at `confidence`; infinite ends while there are too few pairs.

        What the undisturbed pairs say, and what all pairs say once widened by `UNLIKE`: whichever is narrower,
        `WIDE` of the error is the latter's. So a limit that is far away needs no quiet moment.
        """
        return bounds(self._all_ratios, self.slowdowns, self.confidence)

    def sure(self, limit: float) -> float:
        """The largest confidence, in [0, 1), at which `interval` lies on one side of `limit`."""
        ratios, calm = self._all_ratios, self.ratios
        near = max(_evidence(calm > limit), _evidence(calm < limit))
        far = max(_evidence(ratios > limit * UNLIKE), _evidence(ratios < limit / UNLIKE))
        return max(0.0, 1.0 - 2.0 * min(math.exp(-near) / (1 - WIDE), math.exp(-far) / WIDE))

    @property
    def decided(self) -> bool:
        """Whether the interval clears every limit."""
        return clears(self.interval, self.limits)

    @property
    def lost(self) -> float:
        """The share of the time spent in timed rounds that others took, in [0, 1)."""
        sides = ((self.baseline_blocks, self.baseline_rounds), (self.candidate_blocks, self.candidate_rounds))
        needed = sum(float(np.quantile(blocks, 0.1)) * rounds.size for blocks, rounds in sides)
        return max(0.0, 1.0 - needed / float(sum(rounds.sum() for _, rounds in sides)))

    def would_decide(self) -> tuple[str, ...]:
        """What would turn an inconclusive verdict into one; empty when it is decided."""
        low, high = self.interval
        open_limits = [limit for limit in self.limits if not clears((low, high), (limit,))]
        if not open_limits:
            return ()
        advice = []
        if self.disturbed > 0.5:
            advice.append(
                f"a quieter machine: {self.disturbed:.0%} of the time something else slowed this processor"
            )
        needed = [
            stats.samples_to_decide(
                self.ratios, limit, 1 - (1 - self.confidence) * (1 - WIDE), most=WORTH_WAITING
            )
            for limit in open_limits
        ]
        if self.ratios.size and None not in needed:
            # Half as much again: the share of pairs on one side of the limit is itself an estimate.
            wanted_s = 1.5 * max(count for count in needed if count) * self.seconds / self.ratios.size
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

    Without limits the whole budget is spent. One pair is timed whatever it takes, for an estimate.
    Without a `gauge` every pair counts as undisturbed; without `cores` the thread stays where it is.
    """
    begin = clock()
    pairs: list[tuple[Block, Block]] = []
    gauge = gauge or NoGauge()
    look = 0
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
            pairs.append((a, b))
            # Looking costs time too, and there is little news in one pair among many.
            if limits and len(pairs) >= look:
                if clears(bounds(*_ratios(pairs, gauge), confidence), limits):
                    break
                look = math.ceil(1.03 * len(pairs))
            now = clock()
            if now + (now - sampling) / len(pairs) - begin > budget_s * 1e9:
                break
    return SpeedSample(
        baseline_blocks=np.array([a.fastest for a, _ in pairs]),
        candidate_blocks=np.array([b.fastest for _, b in pairs]),
        slowdowns=_ratios(pairs, gauge)[1],
        baseline_rounds=np.concatenate(sides[0].rounds),
        candidate_rounds=np.concatenate(sides[1].rounds),
        disturbed=sum(side.rejected for side in sides) / sum(len(side.rounds) for side in sides),
        limits=tuple(limits),
        confidence=confidence,
        budget_s=budget_s,
        seconds=(clock() - begin) / 1e9,
    )


def _ratios(pairs: Sequence[tuple[Block, Block]], gauge: Gauge) -> tuple[Floats, Floats]:
    """Of each pair the ratio and the slowdown, 1.0 at best."""
    ratios = np.array([a.fastest / b.fastest for a, b in pairs])
    return ratios, np.array([max(a.reading, b.reading) for a, b in pairs]) / gauge.best


def bounds(ratios: Floats, slowdowns: Floats, confidence: float) -> tuple[float, float]:
    """`SpeedSample.interval` of these pairs."""
    error = 1 - confidence
    low, high = stats.sequential_interval(ratios[slowdowns <= DISTURBED], 1 - error * (1 - WIDE))
    least, most = stats.sequential_interval(ratios, 1 - error * WIDE)
    return max(low, least / UNLIKE), min(high, most * UNLIKE)


def _evidence(success: Bools) -> float:
    return float(stats.evidence(int(success.sum()), success.size, 0.5)) if success.size else 0.0


def clears(interval: tuple[float, float], limits: Sequence[float]) -> bool:
    """Whether the interval lies on one side of each limit; a limit is met by equality."""
    low, high = interval
    return all(low >= limit or high < limit for limit in limits)


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
