"""A machine with a clock of its own: calls take simulated time, neighbours come and go, nothing is timed."""

from __future__ import annotations

from random import Random

from weighbridge.measure.timing.paired import SpeedSample, compare


class Machine:
    """Simulated nanoseconds. `noise` is one of `NOISES`; `shared` says how a busy sibling core slows each call."""

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
    return compare(
        machine.call(call_s * ratio, 0),
        machine.call(call_s, 1),
        limits,
        confidence,
        budget_s,
        clock=machine.clock,
        seed=seed,
        gauge=machine if gauged else None,
    )
