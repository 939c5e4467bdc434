"""Two calls against each other on a noisy machine: how many times faster is one, and how sure is that?

A neighbour's load comes in bursts and only ever adds time. So both calls run in short blocks in alternation,
a block is worth its fastest round, and each pair of neighbouring blocks gives one ratio. Pairs that the gauge
saw disturbed are left out. The median of the others is the estimate; its interval
(`stats.sequential_interval`) needs no noise model and may be looked at after every pair, so sampling stops as
soon as the interval clears the limits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from weighbridge import stats
from weighbridge.measure.gauge import DISTURBED, Gauge, NoGauge
from weighbridge.measure.timing import Call, Clock, Floats, Timer, garbage_held, warm_up

BLOCK_S = 0.0005
MOST_PAIRS = 4096
"""Blocks grow with the budget so that a sample never holds many more ratios than this."""
FEW = 5
PATIENCE, NAP_S = 10, 0.001
"""While a neighbour works a pair would be wasted: so many naps of so many seconds are waited for it to pause."""
WORTH_WAITING = 20 * MOST_PAIRS
"""More pairs than this are no advice: the limit is where the speedup is."""


@dataclass(frozen=True)
class SpeedSample:
    """What `compare` saw. Times are seconds a call; a ratio is the baseline's over the candidate's."""

    baseline_blocks: Floats
    candidate_blocks: Floats
    """The fastest round of each block, in the order taken, shape [pairs]."""
    slowdowns: Floats
    """The slowest reading of the gauge around each pair, 1.0 at best, shape [pairs]."""
    baseline_rounds: Floats
    candidate_rounds: Floats
    """Every timed round."""
    limits: tuple[float, ...]
    confidence: float
    budget_s: float
    seconds: float
    """From the first call of the warm-up to the verdict."""

    @property
    def ratios(self) -> Floats:
        """Of the undisturbed pairs, in the order taken."""
        return (self.baseline_blocks / self.candidate_blocks)[self.slowdowns <= DISTURBED]

    @property
    def disturbed(self) -> float:
        """The share of pairs that were left out, in [0, 1]."""
        return float((self.slowdowns > DISTURBED).mean())

    @property
    def ratio(self) -> float:
        """The median of the undisturbed pairs; of the fastest blocks at all, while those are few."""
        if self.ratios.size < FEW:
            return float(self.baseline_blocks.min() / self.candidate_blocks.min())
        return float(np.median(self.ratios))

    def call_s(self) -> tuple[float, float]:
        """Seconds a call of baseline and candidate: the median undisturbed block, or the fastest at all."""
        kept = self.slowdowns <= DISTURBED
        reduce = np.median if kept.sum() >= FEW else np.min
        chosen = kept if kept.sum() >= FEW else np.ones_like(kept)
        return float(reduce(self.baseline_blocks[chosen])), float(reduce(self.candidate_blocks[chosen]))

    @property
    def interval(self) -> tuple[float, float]:
        """Anytime-valid, two-sided at `confidence`; infinite ends while there are too few pairs."""
        return stats.sequential_interval(self.ratios, self.confidence)

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
            stats.samples_to_decide(self.ratios, limit, self.confidence, most=WORTH_WAITING)
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
    block_s: float = BLOCK_S,
    clock: Clock = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
    seed: int = 0,
) -> SpeedSample:
    """Time `baseline` against `candidate` until the interval clears every limit or `budget_s` is spent.

    Without limits the whole budget is spent. One pair is timed whatever it takes, for an estimate.
    Without a `gauge` every pair counts as undisturbed.
    """
    begin = clock()
    block_s = max(block_s, budget_s / (2 * MOST_PAIRS))
    rounds: dict[str, list[Floats]] = {"A": [], "B": []}
    readings: list[float] = []
    ratios: list[float] = []
    gauge = gauge or NoGauge()
    look = 0
    with garbage_held():
        timers = {
            side: Timer.calibrated(call, warm_up(call, budget_s / 10, clock), block_s, clock)
            for side, call in (("A", baseline), ("B", candidate))
        }
        sampling = clock()
        for order in _orders(seed):
            slowest = _wait_for_quiet(gauge, sleep)
            for side in order:
                rounds[side].append(timers[side].block())
                slowest = max(slowest, gauge())
            readings.append(slowest)
            ratios.append(float(rounds["A"][-1].min() / rounds["B"][-1].min()))
            # Looking costs time too, and there is little news in one pair among many.
            if limits and len(ratios) >= look:
                calm = np.array(ratios)[np.array(readings) <= DISTURBED * gauge.best]
                if clears(stats.sequential_interval(calm, confidence), limits):
                    break
                look = math.ceil(1.03 * len(ratios))
            now = clock()
            if now + (now - sampling) / len(readings) - begin > budget_s * 1e9:
                break
    return SpeedSample(
        baseline_blocks=np.array([block.min() for block in rounds["A"]]),
        candidate_blocks=np.array([block.min() for block in rounds["B"]]),
        slowdowns=np.array(readings) / gauge.best,
        baseline_rounds=np.concatenate(rounds["A"]),
        candidate_rounds=np.concatenate(rounds["B"]),
        limits=tuple(limits),
        confidence=confidence,
        budget_s=budget_s,
        seconds=(clock() - begin) / 1e9,
    )


def _wait_for_quiet(gauge: Gauge, sleep: Callable[[float], None]) -> float:
    """The first reading that is undisturbed, or the last of some milliseconds of them."""
    reading = gauge()
    for _ in range(PATIENCE):
        if reading <= DISTURBED * gauge.best:
            break
        sleep(NAP_S)
        reading = gauge()
    return reading


def clears(interval: tuple[float, float], limits: Sequence[float]) -> bool:
    """Whether the interval lies on one side of each limit; a limit is met by equality."""
    low, high = interval
    return all(low >= limit or high < limit for limit in limits)


def _orders(seed: int) -> Iterator[str]:
    """ABBA or BAAB by the toss of a coin: either cancels a drift, and the toss a neighbour's rhythm."""
    coin = np.random.default_rng(seed)
    while True:
        yield from ("AB", "BA") if coin.random() < 0.5 else ("BA", "AB")


def _round_up(value: float) -> str:
    """To two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / unit) * unit:.6g}"


def _floor(ratio: float) -> str:
    """Down to three decimals, so that what is said to be met is."""
    return f"{math.floor(ratio * 1000) / 1000:g}"
