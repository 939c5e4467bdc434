"""Two calls against each other on a noisy machine: how many times faster is the candidate, and how sure is that?

A neighbour's load comes in bursts and only ever adds time. So both calls run in short blocks in alternation, a
block is worth its fastest round, and each pair of neighbouring blocks gives one ratio. The median of the ratios
is the estimate; its interval (`stats.sequential_interval`) needs no noise model and may be looked at after every
pair, so sampling stops as soon as the interval clears the limits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from weighbridge import stats
from weighbridge.measure.timing import Call, Clock, Floats, Timer, garbage_held, warm_up

BLOCK_S = 0.025
MOST_PAIRS = 512
"""Blocks grow with the budget so that a sample never holds many more ratios than this."""


@dataclass(frozen=True)
class SpeedSample:
    """What `compare` saw. Times are seconds a call; a ratio is baseline over candidate, above 1 if it is faster."""

    ratios: Floats
    """One a pair of blocks, in the order taken, shape [pairs]."""
    baseline_blocks: Floats
    candidate_blocks: Floats
    """The fastest round of each block, shape [pairs]."""
    baseline_rounds: Floats
    candidate_rounds: Floats
    """Every timed round."""
    limits: tuple[float, ...]
    confidence: float
    budget_s: float
    seconds: float
    """From the first call of the warm-up to the verdict."""

    @property
    def ratio(self) -> float:
        return float(np.median(self.ratios))

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
        """Share of the timed rounds that a quiet machine would not have taken, in [0, 1)."""
        spent = self.baseline_rounds.sum() + self.candidate_rounds.sum()
        needed = sum(
            np.median(blocks) * rounds.size
            for blocks, rounds in (
                (self.baseline_blocks, self.baseline_rounds),
                (self.candidate_blocks, self.candidate_rounds),
            )
        )
        return float(max(0.0, 1.0 - needed / spent))

    def would_decide(self) -> tuple[str, ...]:
        """What would turn an inconclusive verdict into one; empty when it is decided."""
        if self.decided:
            return ()
        low, high = self.interval
        advice = []
        pair_s = self.seconds / self.ratios.size
        for limit in self.limits:
            if clears((low, high), (limit,)):
                continue
            needed = stats.samples_to_decide(self.ratios, limit, self.confidence, most=20 * MOST_PAIRS)
            if needed is not None:
                # A quarter more than estimated, since the share of pairs above the limit is itself uncertain.
                advice.append(f"a budget of about {_round_up(1.25 * needed * pair_s)} s")
        if math.isfinite(low):
            advice.append(f"a limit of {low:.4g} would be met, one of {high:.4g} or more would not")
        return tuple(advice)


def compare(
    baseline: Call,
    candidate: Call,
    limits: Sequence[float] = (),
    confidence: float = 0.99,
    budget_s: float = 3.0,
    *,
    block_s: float = BLOCK_S,
    clock: Clock = time.perf_counter_ns,
    seed: int = 0,
) -> SpeedSample:
    """Time `baseline` against `candidate` until the interval clears every limit or `budget_s` is spent.

    Without limits the whole budget is spent. One pair is timed whatever it takes, so that there is an estimate.
    """
    begin = clock()
    block_s = max(block_s, budget_s / (2 * MOST_PAIRS))
    with garbage_held():
        timers = {
            side: Timer.calibrated(call, warm_up(call, budget_s / 10, clock), block_s, clock)
            for side, call in (("A", baseline), ("B", candidate))
        }
        rounds: dict[str, list[Floats]] = {"A": [], "B": []}
        fastest: dict[str, list[float]] = {"A": [], "B": []}
        sampling = clock()
        for order in _orders(seed):
            for side in order:
                block = timers[side].block()
                rounds[side].append(block)
                fastest[side].append(float(block.min()))
            ratios = np.array(fastest["A"]) / np.array(fastest["B"])
            if limits and clears(stats.sequential_interval(ratios, confidence), limits):
                break
            now = clock()
            if now + (now - sampling) / len(ratios) - begin > budget_s * 1e9:
                break
    return SpeedSample(
        ratios=ratios,
        baseline_blocks=np.array(fastest["A"]),
        candidate_blocks=np.array(fastest["B"]),
        baseline_rounds=np.concatenate(rounds["A"]),
        candidate_rounds=np.concatenate(rounds["B"]),
        limits=tuple(limits),
        confidence=confidence,
        budget_s=budget_s,
        seconds=(clock() - begin) / 1e9,
    )


def clears(interval: tuple[float, float], limits: Sequence[float]) -> bool:
    """Whether the interval lies on one side of each limit; a limit is met by equality."""
    low, high = interval
    return all(low >= limit or high < limit for limit in limits)


def _orders(seed: int) -> Iterator[str]:
    """ABBA or BAAB by the toss of a coin: either cancels a drift, and the toss any rhythm of the neighbour's."""
    coin = np.random.default_rng(seed)
    while True:
        yield from ("AB", "BA") if coin.random() < 0.5 else ("BA", "AB")


def _round_up(seconds: float) -> str:
    """To two digits."""
    digits = 1 - math.floor(math.log10(seconds))
    return f"{math.ceil(seconds * 10**digits) / 10**digits:g}"
