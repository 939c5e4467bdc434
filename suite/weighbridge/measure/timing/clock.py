"""Timing one call: warm-up until stable, rounds and units sized by the latency, cold calls left out."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"
Call: TypeAlias = Callable[[], object]
Clock: TypeAlias = Callable[[], int]
"""Nanoseconds that never run backwards."""

ROUND_S = 50e-6
"""A round of the faster call lasts at least this long where it can, a thousand times the cost of reading the clock."""
UNIT_S = 200e-6
"""How long a unit should be. The gauge is read after each, and a neighbour's pauses, often half a millisecond, should
be long enough for one or two of them."""
UNITS = 2
"""How many a block has, of which the fastest counts: half of those that the gauge calls undisturbed have still lost a
percent or more."""
LEAD_S = 0.001
"""The longest that untimed calls in front of a unit may take."""
GAUGED_S = 5e-4
"""A call shorter than this is not timed right after the gauge: it takes up to 7 µs longer then, more than a percent."""
COLD_S = 0.25
"""A call longer than this is not made untimed first: filling the caches takes some milliseconds, a small part of it."""


@contextmanager
def garbage_held() -> Iterator[None]:
    """No garbage collection inside: it would land on whichever side happens to run."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(frozen=True)
class Timer:
    """A call and how it is timed.

    A unit is `lead` calls that are not timed, then `rounds` rounds of `inner` calls, of which each round is timed as a
    whole; a block has `units` units. Where the other model ran before, its data fills the caches: then `cold` calls
    more are made first and not timed.
    """

    call: Call
    cold: int
    units: int
    lead: int
    rounds: int
    inner: int
    clock: Clock = time.perf_counter_ns

    def block_s(self, call_s: float) -> float:
        """About how long a block lasts, undisturbed, of calls of `call_s` seconds."""
        return call_s * (self.cold + self.units * (self.lead + self.rounds * self.inner))

    def warm(self) -> None:
        """Fill the caches again after the other model's units."""
        for _ in repeat(None, self.cold):
            self.call()

    def unit(self) -> Floats:
        """Seconds a call, one number a round, shape [rounds]."""
        call, clock, inner = self.call, self.clock, self.inner
        marks = []
        for _ in repeat(None, self.lead):
            call()
        for _ in repeat(None, self.rounds):
            start = clock()
            for _ in repeat(None, inner):
                call()
            marks.append(clock() - start)
        return np.array(marks, dtype=float) / (1e9 * inner)


def calibrated(
    calls: Sequence[Call], calls_s: Sequence[float], clock: Clock = time.perf_counter_ns
) -> list[Timer]:
    """A timer for each of `calls`, which take `calls_s` seconds; units last about `UNIT_S`, one call at least.

    Both calls get the same number of units, rounds and calls a round: a block is worth its fastest round, and the
    minimum of more rounds would be lower for that reason alone. Their units also last equally long, because a longer
    one is more likely to be disturbed: the faster call makes up for its shorter rounds with untimed calls in front
    (`lead`), for `LEAD_S` seconds at most. Before short calls of either model one round goes untimed, since reading the
    gauge has pushed something out of the caches. Calls longer than 12.5 ms have one unit a block: hardly any of them
    is undisturbed from beginning to end, so the time is better spent on more pairs.
    """
    fastest, slowest = min(calls_s), max(calls_s)
    inner = max(1, min(math.ceil(ROUND_S / fastest), int(UNIT_S / slowest)))
    units = min(UNITS, max(1, int(0.025 / slowest)))
    rounds = max(1, round(UNIT_S / (slowest * inner)))
    unit_s = slowest * rounds * inner
    gauged = inner if fastest < GAUGED_S and slowest < LEAD_S else 0
    return [
        Timer(
            call,
            cold=inner if call_s < COLD_S else 0,
            units=units,
            lead=gauged + round(min(unit_s - call_s * rounds * inner, LEAD_S) / call_s),
            rounds=rounds,
            inner=inner,
            clock=clock,
        )
        for call, call_s in zip(calls, calls_s, strict=True)
    ]


def warm_up(call: Call, most_s: float, clock: Clock = time.perf_counter_ns) -> float:
    """Run `call` until it gets no faster, `most_s` seconds at most; seconds a call once warm.

    Lazy initialization, page faults and clock ramps end when three windows in a row, each of 5 ms or one
    call, bring the fastest call down by less than 2 %. A call longer than `COLD_S` is made once.
    """
    begin, best, steady = clock(), math.inf, 0
    while steady < 3:
        window, fastest = clock(), math.inf
        while True:
            start = clock()
            call()
            end = clock()
            fastest = min(fastest, (end - start) / 1e9)
            if fastest >= COLD_S:
                return fastest
            if end - window >= 5e6 or end - begin >= most_s * 1e9:
                break
        steady = steady + 1 if fastest > 0.98 * best else 0
        best = min(best, fastest)
        if clock() - begin >= most_s * 1e9:
            break
    return max(best, 1e-9)
