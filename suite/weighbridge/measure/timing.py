"""Timing one call in blocks: warm-up until stable, rounds sized by the latency, cold calls dropped."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
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
"""A round lasts at least this long, a thousand times the cost of reading the clock."""
COLD_S = 0.25
"""Refilling the caches takes some milliseconds: a longer call need not be repeated to be warm."""
LEAST_ROUNDS = 3


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
    """A call and how it is timed: a block is `dropped` calls, then `rounds` rounds of `inner` calls each."""

    call: Call
    dropped: int
    rounds: int
    inner: int
    clock: Clock = time.perf_counter_ns

    @classmethod
    def calibrated(
        cls, call: Call, call_s: float, block_s: float, clock: Clock = time.perf_counter_ns
    ) -> Timer:
        """Blocks of about `block_s` seconds for a call of `call_s`, and of three rounds where calls are short.

        A minimum needs a few rounds to be one, so a block of 5 ms calls is 20 ms long. Of calls so long that
        no round escapes a burst anyway, more pairs serve better than more rounds.
        """
        inner = max(1, math.ceil(ROUND_S / call_s))
        least = min(LEAST_ROUNDS, max(1, int(0.025 / call_s)))
        rounds = max(least, round(block_s / (call_s * inner)))
        return cls(call, inner if call_s < COLD_S else 0, rounds, inner, clock)

    def block(self) -> Floats:
        """Seconds a call, one number a round, shape [rounds]."""
        call, clock, inner = self.call, self.clock, self.inner
        for _ in repeat(None, self.dropped):
            call()
        marks = []
        for _ in repeat(None, self.rounds):
            start = clock()
            for _ in repeat(None, inner):
                call()
            marks.append(clock() - start)
        return np.array(marks, dtype=float) / (1e9 * inner)


def warm_up(call: Call, most_s: float, clock: Clock = time.perf_counter_ns) -> float:
    """Run `call` until it gets no faster, `most_s` seconds at most; seconds a call once warm.

    Lazy initialization, page faults and clock ramps end when three windows in a row, each of 5 ms or one
    call, bring the fastest call down by less than 2 %.
    """
    begin, best, steady = clock(), math.inf, 0
    while steady < 3:
        window, fastest = clock(), math.inf
        while True:
            start = clock()
            call()
            end = clock()
            fastest = min(fastest, (end - start) / 1e9)
            if end - window >= 5e6 or end - begin >= most_s * 1e9:
                break
        steady = steady + 1 if fastest > 0.98 * best else 0
        best = min(best, fastest)
        if clock() - begin >= most_s * 1e9:
            break
    return max(best, 1e-9)
