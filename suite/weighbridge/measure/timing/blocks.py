"""Blocks: one call's fastest round in a few moments that the gauge saw undisturbed.

A neighbour's load comes in bursts, and it can only add time. The gauge is read before and after each unit, and units
without a burst around them are kept until there are enough for a block; the time of a block is that of its fastest
round. Units go on during a burst too, so that the caches stay warm and the next pause is not missed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from weighbridge.measure.timing.clock import Floats, Timer
from weighbridge.measure.timing.cores import Cores, OneCore
from weighbridge.measure.timing.gauge import DISTURBED, Gauge


class Block(NamedTuple):
    """Seconds a call of the fastest round, and the slowest reading of the gauge around its units."""

    fastest: float
    reading: float


class Blocks:
    """The units of one call. Undisturbed ones are kept until there are enough of them for a block."""

    def __init__(self, timer: Timer, gauge: Gauge, cores: Cores | None = None) -> None:
        self.timer, self._gauge, self._cores = timer, gauge, cores or OneCore()
        self._undisturbed: list[Block] = []
        self.disturbed = Block(math.inf, math.inf)
        """The last units of the last search, as many as a block has, disturbed or not."""
        self.rounds: list[Floats] = []
        """Every round ever, seconds a call, an array for each unit."""
        self.rejected = 0
        """How many units were disturbed."""

    @property
    def ready(self) -> bool:
        return len(self._undisturbed) >= self.timer.units

    def search(self, patience_s: float) -> None:
        """Run units until a block is ready or `patience_s` seconds are over, as many as a block has at least."""
        timer, gauge, clock = self.timer, self._gauge, self.timer.clock
        until = clock() + patience_s * 1e9
        seen = list[Block]()
        timer.warm()
        before = gauge()
        while True:
            rounds = timer.unit()
            after = gauge()
            unit = Block(float(rounds.min()), max(before, after))
            before = after
            self.rounds.append(rounds)
            seen.append(unit)
            undisturbed = unit.reading <= DISTURBED * gauge.best
            if undisturbed:
                self._undisturbed.append(unit)
            else:
                self.rejected += 1
            if self._cores.moved(undisturbed):
                timer.warm()
                before = gauge()
            if len(seen) >= timer.units and (self.ready or clock() > until):
                self.disturbed = _of(seen[-timer.units :])
                return

    def block(self) -> Block:
        """The latest undisturbed units, `ready` once more when there are as many new ones."""
        latest, self._undisturbed = self._undisturbed[-self.timer.units :], []
        return _of(latest)


def _of(units: list[Block]) -> Block:
    return Block(min(unit.fastest for unit in units), max(unit.reading for unit in units))
