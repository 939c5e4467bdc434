"""Loads, one after the other, until they decide or the budget is spent; now and then some in a fresh process.

Process and session each move a ratio: sessions by one to two percent, and one process of ten or twenty by five. Two loads
a process sample both, where a process starts quickly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from weighbridge.measure.timing.clock import Clock
from weighbridge.measure.timing.load import Load

A_PROCESS = 2
"""Loads in each process."""
LEAST = 4
"""Loads before the first verdict, however plain it is: not all of them in one process."""
START_S = 1.0
"""What a fresh process is thought to take until one was started: mostly the first is a third of a second, and the others,
which are its forks, some milliseconds."""
STARTING = 1 / 3
"""Once so large a share of the budget went into starting processes, no more are started."""
WORTH_WAITING = 200.0
"""If it takes more than so many times what was seen, no budget is suggested: the model is practically at the limit."""

L = TypeVar("L", bound=Load)
Take = Callable[[int, Sequence[float] | None], L]
"""One load, for its number and for what the calls are known to take."""
Elsewhere = Callable[[Sequence[int], Sequence[float] | None], Sequence[L]]
"""Loads in a fresh process, one for each number; none where that cannot be done."""


def fresh_seed() -> int:
    """Another one each time: a seed that stays would put the same session first in every run."""
    return int(np.random.SeedSequence().generate_state(1)[0])


def gather(
    take: Take[L],
    done: Callable[[Sequence[L]], bool],
    budget_s: float,
    *,
    elsewhere: Elsewhere[L] | None = None,
    clock: Clock = time.perf_counter_ns,
    seed: int = 0,
) -> tuple[list[L], int]:
    """The loads, one at least, and in how many processes they were taken.

    What does not fit into the budget any more is not begun.
    """
    begin, loads, processes, starts_s, start_s = clock(), list[L](), 1, 0.0, START_S

    def left_s() -> float:
        return budget_s - (clock() - begin) / 1e9

    while True:
        seeds = [seed + len(loads) + number for number in range(A_PROCESS)]
        load_s = loads[-1].again_s if loads else 0.0
        fresh = (
            elsewhere is not None
            and len(loads) >= A_PROCESS
            and starts_s <= STARTING * budget_s
            and start_s + A_PROCESS * load_s <= left_s()
        )
        if loads and not fresh and load_s > left_s():
            return loads, processes
        known_s = loads[0].calls_s if loads else None
        if fresh and elsewhere is not None:
            before_s = left_s()
            found = elsewhere(seeds, known_s)
            start_s = max(0.0, before_s - left_s() - A_PROCESS * load_s)
            starts_s += start_s
            loads += found
            processes += bool(found)
            if not found:
                elsewhere = None
        else:
            loads.append(take(seeds[0], known_s))
        if len(loads) >= LEAST and done(loads):
            return loads, processes
