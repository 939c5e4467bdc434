"""The gauge: a fixed piece of arithmetic whose time tells whether a neighbour slows this processor right now.

Contention is not only waiting. A neighbour on the sibling hyperthread slows every instruction, and not every
model alike: an int8 model that is 1.33 times faster on an undisturbed core was 1.16 times faster beside one.
So a moment counts as undisturbed only where the gauge, read around it, was nearly as fast as it ever is.
"""

from __future__ import annotations

import math
import time
from functools import cache
from typing import Protocol

DISTURBED = 1.3
"""Slower than its best by more than this. A shared core costs 1.6 and more, a lower clock seldom as much."""
READINGS, NAP_S = 150, 0.005
"""How often the gauge is read when it is made, and the sleep between two readings. If all of them fell into a neighbour's
burst, the best would be too slow and disturbed moments would count as undisturbed: so they take most of a second."""


class Gauge(Protocol):
    """Seconds (or any unit) that the fixed work takes now, and took at best."""

    best: float

    def __call__(self) -> float: ...


class AdditionGauge:
    """Adding up small numbers in Python, 20 µs a reading.

    A neighbour on the sibling hyperthread slows it 1.8 times, more than a product of matrices, and it leaves the
    model's caches alone: after a product the model's next call took 6 µs longer, after this 1.5 µs.
    """

    def __init__(self) -> None:
        self._numbers = range(400)
        self.best = math.inf
        for _ in range(READINGS):
            for _ in range(4):  # what has slept is slow at first
                self()
            time.sleep(NAP_S)

    def __call__(self) -> float:
        fastest = math.inf
        for _ in range(3):
            start = time.perf_counter()
            sum(self._numbers)
            fastest = min(fastest, time.perf_counter() - start)
        self.best = min(self.best, fastest)
        return fastest


class NoGauge:
    """For where a gauge cannot tell: always at its best."""

    best = 1.0

    def __call__(self) -> float:
        return 1.0


@cache
def machine_gauge() -> Gauge:
    """The gauge of this process: the longer it lives, the surer it knows the processor's best."""
    return AdditionGauge()


def gauge_for(threads: int) -> Gauge:
    """A second thread of the model's own, spinning on the sibling core, would look like a neighbour."""
    return machine_gauge() if threads == 1 else NoGauge()
