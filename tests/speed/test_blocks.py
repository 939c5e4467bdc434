"""Blocks take undisturbed moments where they find them, and say when they found none."""

import numpy as np
import pytest
from simulated import Machine

from weighbridge.measure.timing.blocks import Blocks
from weighbridge.measure.timing.clock import Timer
from weighbridge.measure.timing.gauge import NoGauge


class Script:
    """A gauge that gives the readings it is told, and then the last of them for good."""

    best = 1.0

    def __init__(self, machine: Machine, *readings: float) -> None:
        self.machine, self.readings = machine, list(readings)

    def __call__(self) -> float:
        self.machine.now += 40e-6
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]


def costs(machine: Machine, *seconds: float):
    """A call that takes so long the first time, the second, and so on; the last for good. Counts itself."""

    def call() -> None:
        machine.now += seconds[min(call.count, len(seconds) - 1)]
        call.count += 1

    call.count = 0
    return call


def blocks(machine: Machine, call, gauge, **changes) -> Blocks:
    fields = {"cold": 1, "units": 3, "lead": 0, "rounds": 1, "inner": 1} | changes
    return Blocks(Timer(call, **fields, clock=machine.clock), gauge)


def test_the_first_calls_are_not_timed():
    machine = Machine("quiet", 0)
    call = costs(machine, 0.1, 0.001)
    side = blocks(machine, call, NoGauge(), rounds=3, inner=2)
    side.search(0.02)
    assert np.concatenate(side.rounds).max() < 0.0011
    assert [rounds.shape for rounds in side.rounds] == [(3,)] * 3
    assert call.count == 1 + 3 * 3 * 2


def test_a_unit_leads_in_untimed():
    machine = Machine("quiet", 0)
    call = costs(machine, 0.009, 0.004, 0.003, 0.001, 0.004, 0.003, 0.001)
    side = blocks(machine, call, NoGauge(), lead=2, units=2)
    side.search(0.02)
    assert np.concatenate(side.rounds) == pytest.approx([0.001, 0.001], rel=1e-3)
    assert call.count == 7


def test_a_unit_beside_a_neighbour_does_not_count():
    machine = Machine("quiet", 0)
    # Cold, timed, timed faster than any other but disturbed, disturbed at its beginning, and two more.
    call = costs(machine, 0.009, 0.002, 0.0011, 0.0012, 0.003, 0.002)
    side = blocks(machine, call, Script(machine, 1.0, 1.0, 1.5, 1.0, 1.1, 1.0))
    side.search(0.5)
    assert side.ready
    assert side.block() == (pytest.approx(0.002, rel=1e-3), 1.1)
    assert len(side.rounds) == 5
    assert call.count == 6


def test_without_a_quiet_moment_the_last_units_stand_and_are_marked():
    machine = Machine("quiet", 0)
    side = blocks(machine, costs(machine, 0.009, 0.002, 0.001, 0.002), Script(machine, 1.5))
    side.search(0.02)
    assert not side.ready
    assert side.disturbed == (pytest.approx(0.002, rel=1e-3), 1.5)
    assert side.rejected == len(side.rounds)
    assert 0.02 < machine.now < 0.03


def test_undisturbed_units_wait_for_the_next_search():
    """Three to a block, whichever searches found them: a minimum over two would be larger than the others."""
    machine = Machine("quiet", 0)
    gauge = Script(machine, *[1.0] * 3, 1.5)
    side = blocks(machine, costs(machine, 0.001), gauge)
    side.search(0.02)
    assert not side.ready
    assert side.disturbed.reading == 1.5
    gauge.readings = [1.0]
    before, rejected = len(side.rounds), side.rejected
    side.search(0.02)
    assert side.ready
    assert len(side.rounds) - before == 3
    assert side.rejected == rejected
    assert side.block().reading == 1.0
    assert not side.ready


def test_a_block_that_is_ready_waits_for_the_other_side():
    machine = Machine("quiet", 0)
    gauge = Script(machine, 1.0)
    side = blocks(machine, costs(machine, 0.009, 0.002), gauge)
    side.search(0.02)
    gauge.readings = [1.5]
    begin = machine.now
    side.search(0.02)
    assert machine.now - begin < 0.01
    assert side.disturbed == (pytest.approx(0.002, rel=1e-3), 1.5)
    assert side.block() == (pytest.approx(0.002, rel=1e-3), 1.0)
