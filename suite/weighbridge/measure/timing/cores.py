"""The core that a measurement runs on: another one when this one has a neighbour, and ahead of other programs.

The scheduler spreads what it knows of. It does not know of a virtual machine on the sibling hyperthread, and it
gives each runnable program its turn. Both are moved out of the way for as long as a measurement lasts, for the
calling thread alone, and only as far as the system allows.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from typing import Protocol

from weighbridge.measure.timing.clock import Clock

MOVE_S = 0.005
"""After this long without an undisturbed moment the next core is tried. Filling the caches of a new core takes a
hundredth of it."""
FIRST = -20
"""The niceness that precedes all others."""


class Cores(Protocol):
    """Told of every moment, it says whether it has moved the thread to another core."""

    def moved(self, undisturbed: bool) -> bool: ...


class OneCore:
    """For where there is nothing to choose."""

    def moved(self, undisturbed: bool) -> bool:
        return False


class OtherCores:
    """Moves on to the next core after `MOVE_S` seconds without an undisturbed moment."""

    def __init__(self, cores: list[int], clock: Clock = time.perf_counter_ns) -> None:
        self._next, self._clock, self._since = cycle(cores), clock, clock()

    def moved(self, undisturbed: bool) -> bool:
        now = self._clock()
        if undisturbed:
            self._since = now
        if now - self._since < MOVE_S * 1e9:
            return False
        self._since = now
        with suppress(OSError):  # a core that is there no more, or a sandbox
            os.sched_setaffinity(0, {next(self._next)})
        return True


@contextmanager
def one_core() -> Iterator[Cores]:
    """Where nothing is to be moved."""
    yield OneCore()


@contextmanager
def best_cores(threads: int, precedence: bool = True) -> Iterator[Cores]:
    """For calls that stay in this thread: what moves it, and meanwhile a priority above the others where allowed.

    Without `precedence` the priority stays as it is.

    Linux only, where both are properties of a thread (sched_setaffinity(2), setpriority(2)): elsewhere they would
    concern the whole process. A model's further threads would be left behind, so with more than one nothing is done.
    """
    if sys.platform != "linux" or threads != 1:
        yield OneCore()
        return
    cores, niceness = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    try:
        if precedence:
            with suppress(OSError):  # a right of the superuser, or by RLIMIT_NICE
                os.setpriority(os.PRIO_PROCESS, 0, FIRST)
        yield OtherCores(sorted(cores)) if len(cores) > 1 else OneCore()
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, cores)
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
