"""The gauge: a fixed piece of arithmetic whose time tells whether a neighbour slows this processor right now.

Contention is not only waiting. A neighbour on the sibling hyperthread slows every instruction, and not every
model alike: an int8 model that is 1.33 times faster on an undisturbed core was 1.16 times faster beside one.
So a moment counts as undisturbed only where the gauge, read around it, was nearly as fast as it ever is.
"""

from __future__ import annotations

import importlib.util
import math
import time
from functools import cache
from typing import Protocol

from weighbridge.measure.timing.clock import Clock

DISTURBED = 1.3
"""Slower than its best by more than this. A shared core costs 1.6 and more, a lower clock seldom as much."""
READINGS, NAP_S = 150, 0.005
"""How often the gauge is read when it is made, and the sleep between two readings. If all of them fell into a neighbour's
burst, the best would be too slow and disturbed moments would count as undisturbed: so they take most of a second."""

MEMORY_S = 20.0
"""How long the best is remembered at least: longer than the neighbours that were seen to stay, some seconds each, and than
most budgets."""


class Gauge(Protocol):
    """Seconds (or any unit) that the fixed work takes now, and took at best."""

    @property
    def best(self) -> float: ...

    def __call__(self) -> float: ...


class AdditionGauge:
    """Adding up small numbers in Python, 20 µs a reading.

    A neighbour on the sibling hyperthread slows it 1.8 times, more than a product of matrices, and it leaves the
    model's caches alone: after a product the model's next call took 6 µs longer, after this 1.5 µs.

    The best is that of the last `MEMORY_S` to twice as many seconds: a clock that has fallen for good, or a machine that
    was moved to a slower host, is not called disturbed for ever.
    """

    def __init__(self, best: float | None = None, clock: Clock = time.perf_counter_ns) -> None:
        """`best` as another process has seen it; without it the gauge looks for it most of a second."""
        self._numbers, self._clock = range(400), clock
        self._earlier, self._lately, self._since = math.inf, math.inf if best is None else best, clock()
        if best is not None:
            return
        for _ in range(READINGS):
            for _ in range(4):  # what has slept is slow at first
                self()
            time.sleep(NAP_S)

    @property
    def best(self) -> float:
        return min(self._earlier, self._lately)

    def __call__(self) -> float:
        fastest = math.inf
        for _ in range(3):
            start = self._clock()
            sum(self._numbers)
            end = self._clock()
            fastest = min(fastest, (end - start) / 1e9)
        if end - self._since > MEMORY_S * 1e9:
            self._earlier, self._lately, self._since = self._lately, math.inf, end
        self._lately = min(self._lately, fastest)
        return fastest


class NoGauge:
    """For where a gauge cannot tell: always at its best."""

    best = 1.0

    def __call__(self) -> float:
        return 1.0


class SwitchesGauge:
    """For a model with threads of its own, one of which, spinning on the sibling core, would look like a neighbour.

    What can be told of all threads is whether another program was given the processor of one of them since the last
    reading: the process's involuntary context switches (getrusage(2)), 1 µs a reading.
    """

    best = 1.0

    def __init__(self) -> None:
        self._seen = self._switches()

    def __call__(self) -> float:
        before, self._seen = self._seen, self._switches()
        return 1.0 if self._seen == before else 2.0

    def _switches(self) -> int:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


@cache
def machine_gauge(best: float | None = None) -> Gauge:
    """The gauge of this process: the longer it lives, the surer it knows the processor's best."""
    return AdditionGauge(best)


def gauge_for(threads: int, best: float | None = None) -> Gauge:
    """For a model of so many threads; `best` as another process knows it."""
    if threads == 1:
        return machine_gauge(best)
    return SwitchesGauge() if importlib.util.find_spec("resource") else NoGauge()
