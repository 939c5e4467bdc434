"""One model's calls, each timed by itself: what latency and throughput are read from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from weighbridge.core import stats
from weighbridge.measure.timing.clock import Call, Clock, Floats, garbage_held, warm_up
from weighbridge.measure.timing.cores import Cores, OneCore
from weighbridge.measure.timing.gauge import DISTURBED, Gauge, NoGauge

if TYPE_CHECKING:
    from numpy.typing import NDArray

Bools: TypeAlias = "NDArray[np.bool_]"

LEAST_S = 0.25
"""How long to sample at least. Whatever slows the machine for a while is in all calls of that while, so a few
milliseconds of calls that agree prove nothing."""
MOST_CALLS = 20_000


@dataclass(frozen=True)
class CallSample:
    """Seconds of each call in the order taken, shape [calls], and whether the gauge saw it undisturbed."""

    seconds: Floats
    calm: Bools
    spent_s: float

    @property
    def disturbed(self) -> float:
        """The share of calls beside a working neighbour, in [0, 1]."""
        return 1.0 - float(self.calm.mean())

    def quantile(self, quantile: float) -> float:
        return float(np.quantile(self.seconds, quantile))

    def interval(self, quantile: float, confidence: float) -> tuple[float, float]:
        """Of the quantile that an undisturbed machine would show; valid whenever sampling stops.

        A neighbour can only add time. So all calls together give the upper end, and the undisturbed calls alone the
        lower end, which is 0 where there are none.
        """
        _, high = stats.sequential_interval(self.seconds, confidence, quantile)
        low, _ = stats.sequential_interval(self.seconds[self.calm], confidence, quantile)
        return max(0.0, low), high


def sample_calls(
    call: Call,
    done: Callable[[CallSample], bool],
    budget_s: float,
    *,
    gauge: Gauge | None = None,
    cores: Cores | None = None,
    clock: Clock = time.perf_counter_ns,
) -> CallSample:
    """Time calls one by one until `done`, asked ever more seldom, or until `budget_s` is spent."""
    gauge, cores = gauge or NoGauge(), cores or OneCore()
    begin, seconds, readings = clock(), list[float](), list[float]()
    with garbage_held():
        stride = max(1, round(0.001 / warm_up(call, budget_s / 5, clock)))
        sampling, before, look = clock(), gauge(), 10
        while True:
            for _ in range(stride):
                start = clock()
                call()
                seconds.append((clock() - start) / 1e9)
            after = gauge()
            readings += [max(before, after)] * stride
            if cores.moved(readings[-1] <= DISTURBED * gauge.best):
                call()
                after = gauge()
            before, now = after, clock()
            over = now - begin >= budget_s * 1e9 or len(seconds) >= MOST_CALLS
            if over or (now - sampling >= LEAST_S * 1e9 and len(seconds) >= look):
                calm = np.array(readings) <= DISTURBED * gauge.best
                sample = CallSample(np.array(seconds), calm, (now - begin) / 1e9)
                if over or done(sample):
                    return sample
                look = math.ceil(1.1 * len(seconds))
