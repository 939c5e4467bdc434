"""The gauge: a fixed piece of arithmetic whose time tells whether a neighbour slows this processor right now.

Contention is not only waiting. A neighbour on the sibling hyperthread slows every instruction, and not every
model alike: an int8 model that is 1.33 times faster on an undisturbed core was 1.16 times faster beside one.
So a pair of blocks counts as undisturbed only while the gauge, read around it, is nearly as fast as it ever
was.
"""

from __future__ import annotations

import math
import time
from functools import cache

import numpy as np

DISTURBED = 1.2
"""Slower than its best by more than this. A shared core costs 1.3 and more, a lower clock seldom as much."""


class Gauge:
    """Reads how much slower than at its best the processor is; the best is the fastest reading so far."""

    def __init__(self) -> None:
        self._matrix = np.full((48, 48), 0.5, dtype=np.float32)  # 9 kB, so that it is the core that is timed
        self._out = np.empty_like(self._matrix)
        self._best = math.inf
        end = time.perf_counter() + 0.05
        while time.perf_counter() < end:
            self()

    def __call__(self) -> float:
        """The slowdown now, 1.0 at best; takes some 40 µs."""
        fastest = math.inf
        for _ in range(4):
            start = time.perf_counter_ns()
            np.matmul(self._matrix, self._matrix, out=self._out)
            np.matmul(self._matrix, self._matrix, out=self._out)
            fastest = min(fastest, time.perf_counter_ns() - start)
        self._best = min(self._best, fastest)
        return fastest / self._best


@cache
def machine_gauge() -> Gauge:
    """The gauge of this process: the longer it lives, the surer it knows the processor's best."""
    return Gauge()


def undisturbed() -> float:
    """For where the gauge cannot tell: always at best."""
    return 1.0
