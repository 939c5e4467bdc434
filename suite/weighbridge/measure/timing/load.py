"""One load: both sessions opened, and their calls timed in pairs for as short as a ratio can be read.

Where the allocator puts weights and buffers decides which of them meet in a cache, and stays as it is for the life of a
session. So whatever is seen within a load, however precisely, is one observation of the model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np

from weighbridge.measure.timing.blocks import Blocks
from weighbridge.measure.timing.clock import (
    Call,
    Clock,
    Floats,
    calibrated,
    garbage_held,
    warm_up,
)
from weighbridge.measure.timing.cores import Cores, one_core
from weighbridge.measure.timing.gauge import Gauge, NoGauge
from weighbridge.measure.timing.pairs import Pair, Pairs

LOAD_S = 0.1
"""How long to measure within a load, where sessions are opened quickly."""
ENOUGH = 16
"""So many loads should fit into the budget. Where they do not, because opening takes long, half of the time goes into
opening and half into measuring: few loads decide little by themselves, and then the pairs of blocks have to."""
QUIET = 5
"""A load goes on until it has so many undisturbed pairs, or as many as fit into its length..."""
PATIENCE = 4
"""...but no longer than so many times its length."""
BLOCK_PATIENCE = 1 / 4
"""How long a block may wait for undisturbed moments, as a share of the load's length."""
WARM_UP = 1 / 10
"""The longest that warming up one call may take, as a share of the budget."""
WARM_AGAIN_S = 0.02
"""The same in seconds, for the later loads of a call that is shorter."""


@dataclass(frozen=True)
class Opened:
    """The calls of fresh sessions, and what has to live as long as they do."""

    calls: Sequence[Call]
    held: Sequence[object] = ()


Open: TypeAlias = Callable[[int], Opened]
"""Opens sessions anew, for a number that the order and the addresses may depend on."""
OnCore: TypeAlias = Callable[[], AbstractContextManager[Cores]]


class Load(Protocol):
    """What `loads.gather` asks of one."""

    @property
    def calls_s(self) -> tuple[float, ...]:
        """What each call takes, in seconds: the next load is timed alike."""
        ...

    @property
    def seconds(self) -> float:
        """From the closed files to the last call."""
        ...

    @property
    def again_s(self) -> float:
        """What another one would take: a first load warms up longer."""
        ...


@dataclass(frozen=True)
class PairedLoad:
    """What was seen of a baseline and a candidate within one load. Times are seconds a call."""

    pairs: tuple[Pair, ...]
    rounds: tuple[Floats, Floats]
    """Every timed round of either side."""
    best: float
    """The gauge's, as known then."""
    units: int
    rejected: int
    """How many units there were, and how many of them were disturbed."""
    calls_s: tuple[float, ...]
    seconds: float
    again_s: float

    def seen(self, best: float) -> Pairs:
        """Its pairs, by what is known of the gauge's best since."""
        return Pairs.of(self.pairs, best)


@dataclass(frozen=True)
class Conditions:
    """What every load of a measurement is taken under."""

    budget_s: float
    gauge: Gauge = field(default_factory=NoGauge)
    on_core: OnCore = one_core
    clock: Clock = time.perf_counter_ns

    def length_s(self, ready_s: float, least_s: float = 0.0) -> float:
        """How long to measure, `least_s` seconds at least, after `ready_s` seconds of opening and warming up."""
        length_s = max(LOAD_S, least_s)
        return length_s if ENOUGH * (ready_s + length_s) <= self.budget_s else max(length_s, ready_s)

    def warm(
        self, calls: Sequence[Call], known_s: Sequence[float] | None, begin: int
    ) -> tuple[float, tuple[float, ...]]:
        """Warm up. Gives the seconds since `begin` that any load needs before it can be measured, and what each call takes.

        A first load goes on until its calls get no faster, for all loads to be timed alike. The others need less, and of
        longer calls nothing: one goes untimed before a block anyway, and the longest need not even that.
        """
        ready_s = (self.clock() - begin) / 1e9
        if known_s is None:
            return ready_s, tuple(warm_up(call, self.budget_s * WARM_UP, self.clock) for call in calls)
        for call, call_s in zip(calls, known_s, strict=True):
            if call_s < WARM_AGAIN_S:
                warm_up(call, WARM_AGAIN_S, self.clock)
        return (self.clock() - begin) / 1e9, tuple(known_s)


def take_pairs(open_: Open, seed: int, known_s: Sequence[float] | None, under: Conditions) -> PairedLoad:
    """Open both sessions and time their calls in pairs; at least one, even if it takes longer than the budget."""
    gauge, clock, begin = under.gauge, under.clock, under.clock()
    opened, pairs = open_(seed), list[Pair]()
    with garbage_held(), under.on_core() as cores:
        ready_s, calls_s = under.warm(opened.calls, known_s, begin)
        sides = [Blocks(timer, gauge, cores) for timer in calibrated(opened.calls, calls_s, clock)]
        sampling = clock()
        pair_s = sum(side.timer.block_s(call_s) for side, call_s in zip(sides, calls_s, strict=True))
        length_s = under.length_s(ready_s, pair_s)
        quiet_ones = min(QUIET, int(length_s / pair_s))
        longest_s = min(PATIENCE * length_s, under.budget_s - (sampling - begin) / 1e9)
        for order in _orders(seed):
            for side in order:
                sides[side].search(BLOCK_PATIENCE * length_s)
            quiet = all(side.ready for side in sides)
            a, b = (side.block() if quiet else side.disturbed for side in sides)
            pairs.append(Pair(a, b))
            spent_s = (clock() - sampling) / 1e9
            quiet_now = Pairs.of(pairs, gauge.best).ratios.size
            enough = quiet_now >= quiet_ones and spent_s + pair_s / 2 > length_s
            if enough or spent_s * (1 + 1 / len(pairs)) > longest_s:
                break
    return PairedLoad(
        pairs=tuple(pairs),
        rounds=(np.concatenate(sides[0].rounds), np.concatenate(sides[1].rounds)),
        best=gauge.best,
        units=sum(len(side.rounds) for side in sides),
        rejected=sum(side.rejected for side in sides),
        calls_s=calls_s,
        seconds=(clock() - begin) / 1e9,
        again_s=ready_s + (clock() - sampling) / 1e9,
    )


def _orders(seed: int) -> Iterator[tuple[int, int]]:
    """Sides 0110 or 1001 by the toss of a coin: either cancels a drift, and the toss a neighbour's rhythm."""
    coin = np.random.default_rng(seed)
    while True:
        yield from ((0, 1), (1, 0)) if coin.random() < 0.5 else ((1, 0), (0, 1))
