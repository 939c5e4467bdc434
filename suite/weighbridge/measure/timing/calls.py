"""One model's calls, each timed by itself, load after load: what latency and throughput are read from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from weighbridge.measure.timing.clock import Clock, Floats, garbage_held
from weighbridge.measure.timing.gauge import DISTURBED
from weighbridge.measure.timing.load import PATIENCE, Conditions, Open
from weighbridge.measure.timing.loads import Elsewhere, Take, gather
from weighbridge.measure.timing.votes import Votes, Way

if TYPE_CHECKING:
    from numpy.typing import NDArray

Bools: TypeAlias = "NDArray[np.bool_]"

MOST_CALLS = 4000
"""In a load; so many tell its 99th percentile, and shorten the loads of a model that takes some microseconds."""
BEYOND = 2
"""A load goes on, for a while, until so many of its calls should lie beyond the percentile that is judged. With fewer it
bounds the percentile from below only."""
LOADS_MOVE = 1.5
"""A load moves a percentile at most this many times; 1.3 is the most that we have measured, of a 95th. Of the calls of few
loads that is all that can be said about the model."""
BY_LOAD, BY_CALL = 0.8, 0.2
"""The weights of the loads' percentiles, and of the calls that are more than `LOADS_MOVE` times away from a limit."""


@dataclass(frozen=True)
class CalledLoad:
    """Seconds of each call in the order taken, shape [calls], and whether the gauge saw it undisturbed."""

    durations: Floats
    calm: Bools
    calls_s: tuple[float, ...]
    seconds: float
    again_s: float


@dataclass(frozen=True)
class CallSample:
    """What `sample_calls` saw: calls of several loads."""

    loads: tuple[CalledLoad, ...]
    processes: int
    """How many processes the loads were in."""
    quantile: float
    """The one that is judged."""
    spent_s: float

    @cached_property
    def durations(self) -> Floats:
        """Seconds of every call."""
        return np.concatenate([load.durations for load in self.loads])

    @cached_property
    def calm(self) -> Bools:
        return np.concatenate([load.calm for load in self.loads])

    @property
    def disturbed(self) -> float:
        """The share of calls beside a working neighbour, in [0, 1]."""
        return 1.0 - float(self.calm.mean())

    def by_load(self, quantile: float) -> Floats:
        """That quantile of each load, in seconds, shape [loads]."""
        return np.array([np.quantile(load.durations, quantile) for load in self.loads])

    def at(self, quantile: float) -> float:
        """That quantile, in seconds, in the median load."""
        return float(np.median(self.by_load(quantile)))

    @property
    def spread(self) -> float | None:
        """Between loads: the standard deviation of the judged quantile, as a share of its median."""
        seen = self.by_load(self.quantile)
        return float(seen.std(ddof=1) / np.median(seen)) if seen.size > 1 else None

    @cached_property
    def votes(self) -> Votes:
        """On the quantile that an undisturbed machine would show.

        A neighbour can only add time. So all calls together bound it from above, and the undisturbed ones alone from
        below.
        """
        least = least_calls(self.quantile)
        calm = [load.durations[load.calm] for load in self.loads if load.calm.any()]
        low = np.array([np.quantile(calls, self.quantile) for calls in calm])
        known = np.array([load.durations.size >= least for load in self.loads])
        high = np.where(known, self.by_load(self.quantile), math.inf)
        calls_low, calls_high = self.durations[self.calm] / LOADS_MOVE, self.durations * LOADS_MOVE
        return Votes((Way(low, high, BY_LOAD), Way(calls_low, calls_high, BY_CALL, self.quantile)))

    def interval(self, confidence: float) -> tuple[float, float]:
        """Of the quantile in the median load, in seconds; valid whenever sampling stops. 0 where nothing was calm."""
        low, high = self.votes.interval(confidence)
        return max(0.0, low), high


def least_calls(quantile: float) -> int:
    """How many calls of a load tell the quantile."""
    return math.ceil(BEYOND / (1 - quantile))


def take_calls(
    open_: Open, seed: int, known_s: Sequence[float] | None, under: Conditions, quantile: float = 0.5
) -> CalledLoad:
    """Open the session and time its calls one by one."""
    gauge, clock, begin = under.gauge, under.clock, under.clock()
    opened, durations, readings = open_(seed), list[float](), list[float]()
    (call,), least = opened.calls, least_calls(quantile)
    with garbage_held(), under.on_core() as cores:
        ready_s, calls_s = under.warm(opened.calls, known_s, begin)
        stride = max(1, round(0.001 / calls_s[0]))
        sampling, before, length_s = clock(), gauge(), under.length_s(ready_s, calls_s[0])
        longest_s = min(PATIENCE * length_s, under.budget_s - (sampling - begin) / 1e9)
        while True:
            for _ in range(stride):
                start = clock()
                call()
                durations.append((clock() - start) / 1e9)
            after = gauge()
            readings += [max(before, after)] * stride
            if cores.moved(readings[-1] <= DISTURBED * gauge.best):
                call()
                after = gauge()
            before, spent_s = after, (clock() - sampling) / 1e9
            enough = len(durations) >= least and spent_s >= length_s
            if enough or spent_s >= longest_s or len(durations) >= MOST_CALLS:
                break
    calm = np.array(readings) <= DISTURBED * gauge.best
    seconds, again_s = (clock() - begin) / 1e9, ready_s + (clock() - sampling) / 1e9
    return CalledLoad(np.array(durations), calm, calls_s, seconds, again_s)


def sample_calls(
    take: Take[CalledLoad],
    done: Callable[[CallSample], bool],
    budget_s: float,
    quantile: float = 0.5,
    *,
    elsewhere: Elsewhere[CalledLoad] | None = None,
    clock: Clock = time.perf_counter_ns,
    seed: int = 0,
) -> CallSample:
    """Take loads until `done`, which is asked after each, or until `budget_s` is spent."""
    begin = clock()

    def sample(loads: Sequence[CalledLoad], processes: int = 1) -> CallSample:
        return CallSample(tuple(loads), processes, quantile, (clock() - begin) / 1e9)

    loads, processes = gather(
        take, lambda seen: done(sample(seen)), budget_s, elsewhere=elsewhere, clock=clock, seed=seed
    )
    return sample(loads, processes)
