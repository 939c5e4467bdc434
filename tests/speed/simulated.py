"""A machine with a clock of its own: calls take simulated time, neighbours come and go, nothing is timed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

from weighbridge.measure.timing.clock import Call
from weighbridge.measure.timing.gauge import NoGauge
from weighbridge.measure.timing.load import Conditions, Opened, PairedLoad, take_pairs
from weighbridge.measure.timing.loads import Take
from weighbridge.measure.timing.paired import SpeedSample, compare


class Machine:
    """Simulated nanoseconds. `noise` is one of `NOISES`; `shared` says how a busy sibling core slows each call."""

    open_s = 0.01
    """What opening both sessions takes."""
    by_load = 0.0
    """The spread of either call's time from load to load, relative."""
    slowed = (0.7, 0.7)
    """With the noise `unseen`: the share of the baseline's and of the candidate's calls that something too short for the
    gauge slows."""

    def __init__(
        self, noise: str, seed: int, shared: tuple[float, float] = (1.4, 1.4), rest_s: float = 0.03
    ) -> None:
        self.now = 0.0
        self.noise, self.shared, self.rest_s = noise, shared, rest_s
        self.random = Random(seed)
        self.busy_until = self.quiet_until = 0.0

    def clock(self) -> int:
        self.now += 50e-9
        return int(self.now * 1e9)

    def busy(self) -> bool:
        """Neighbours work for 30 ms on average, and rest for `rest_s`."""
        while self.now >= self.quiet_until:
            self.busy_until = self.quiet_until + self.random.expovariate(1 / 0.03)
            self.quiet_until = self.busy_until + self.random.expovariate(1 / self.rest_s)
        return self.now < self.busy_until

    def call(self, seconds: float, side: int):
        def run() -> None:
            self.now += seconds * self._factor(side) + self._wait(seconds)

        return run

    @property
    def best(self) -> float:
        return 1.0

    def __call__(self) -> float:
        """The gauge: slower beside a neighbour, on a core that is shared."""
        self.now += 40e-6
        return self.shared[0] if self.noise == "two modes" and self.busy() else 1.0

    def opened(self, *calls: Call) -> Opened:
        """The same calls for every load: nothing depends on where a load is put."""
        self.now += self.open_s
        return Opened(calls)

    def loaded(self, seconds: Sequence[float]) -> Opened:
        """Calls of `seconds`, each slowed for as long as the load lives by what its addresses happen to be."""
        drawn = [one * self.random.lognormvariate(0, self.by_load) for one in seconds]
        return self.opened(*(self.call(one, side) for side, one in enumerate(drawn)))

    def conditions(self, budget_s: float = 3.0, **others) -> Conditions:
        return Conditions(budget_s, **{"gauge": self, "clock": self.clock, **others})

    def taking(self, *calls: Call, budget_s: float = 3.0, **others) -> Take[PairedLoad]:
        """Loads of these calls."""
        under = self.conditions(budget_s, **others)
        return partial(take_pairs, lambda seed: self.opened(*calls), under=under)

    def _factor(self, side: int) -> float:
        jitter = 1 + 0.005 * abs(self.random.gauss(0, 1))
        if self.noise == "drift":
            return jitter * (1 + 0.2 * self.now)
        if self.noise == "unseen" and self.random.random() < self.slowed[side]:
            return jitter * self.random.uniform(1.0, 1.15)
        if self.noise == "two modes" and self.busy():
            return jitter * self.shared[side]
        return jitter

    def _wait(self, seconds: float) -> float:
        if self.noise == "heavy tails":
            return 0.02 * seconds * (self.random.paretovariate(1.1) - 1)
        if self.noise == "bursts" and self.busy() and self.random.random() < 0.3:
            return self.random.uniform(0.001, 0.01)
        return 0.0


NOISES = ("quiet", "heavy tails", "drift", "bursts", "unseen", "two modes")


def trial(
    noise: str,
    seed: int,
    ratio: float,
    limits=(),
    *,
    call_s: float = 0.001,
    confidence: float = 0.99,
    budget_s: float = 3.0,
    shared: tuple[float, float] = (1.4, 1.4),
    rest_s: float = 0.03,
    gauged: bool = True,
) -> SpeedSample:
    """One comparison on a fresh machine, of a candidate whose true speedup is `ratio`."""
    machine = Machine(noise, seed, shared, rest_s)
    gauge = machine if gauged else NoGauge()
    calls = machine.call(call_s * ratio, 0), machine.call(call_s, 1)
    take = machine.taking(*calls, budget_s=budget_s, gauge=gauge)
    return compare(take, limits, confidence, budget_s, clock=machine.clock, seed=seed)
