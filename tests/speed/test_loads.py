"""A load is one draw: intervals are over loads, which are taken in several processes and as the budget allows."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from simulated import Machine

from weighbridge.core import stats
from weighbridge.measure.timing.gauge import AdditionGauge
from weighbridge.measure.timing.load import PairedLoad, take_pairs
from weighbridge.measure.timing.loads import A_PROCESS, LEAST, gather
from weighbridge.measure.timing.paired import SpeedSample, compare


class Loaded(Machine):
    """Each load draws how fast either call is, by one to two percent as sessions of ONNX Runtime do."""

    by_load = 0.012


def loaded(
    seed, ratio, limits=(), *, budget_s=10.0, call_s=0.001, machine=Loaded, open_s=0.01
) -> SpeedSample:
    simulated = machine("quiet", seed)
    simulated.open_s = open_s
    take = partial(
        take_pairs,
        lambda _: simulated.loaded([call_s * ratio, call_s]),
        under=simulated.conditions(budget_s),
    )
    return compare(take, limits, budget_s=budget_s, clock=simulated.clock, seed=seed)


def within(load: PairedLoad) -> tuple[float, float]:
    """What the pairs of one load would say of themselves."""
    return stats.sequential_interval(load.seen(load.best).ratios, 0.99)


def test_the_interval_covers_the_median_where_that_of_one_load_does_not():
    samples = [loaded(seed, 1.3, budget_s=2.0) for seed in range(30)]
    over = sum(low <= 1.3 <= high for low, high in (sample.interval for sample in samples))
    one = sum(low <= 1.3 <= high for low, high in (within(sample.loads[0]) for sample in samples))
    assert over == 30
    assert one < 10
    assert all(0.006 < sample.spread < 0.035 for sample in samples)


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "met"), [(0.97, True), (1.03, False)])
def test_a_file_against_itself_is_never_judged_wrong(limit, met):
    samples = [loaded(seed, 1.0, [limit]) for seed in range(40)]
    wrong = [sample for sample in samples if sample.decided and (sample.interval[0] >= limit) is not met]
    assert not wrong
    assert sum(not sample.decided for sample in samples) <= 4
    assert all(sample.interval[0] <= 1.0 <= sample.interval[1] for sample in samples)
    one = [within(sample.loads[0]) for sample in samples]
    assert sum(low > 1.0 or high < 1.0 for low, high in one) > 20, "which is what was called a certificate"


@pytest.mark.parametrize(("limit", "met"), [(0.995, True), (1.005, False)])
def test_a_limit_within_the_spread_is_left_open_and_not_guessed(limit, met):
    samples = [loaded(seed, 1.0, [limit], budget_s=2.0) for seed in range(10)]
    assert not [one for one in samples if one.decided and (one.interval[0] >= limit) is not met]
    assert sum(not one.decided for one in samples) > 5


def test_what_is_really_slower_fails():
    for seed in range(20):
        slower = loaded(seed, 0.9, [0.97])
        assert slower.interval[1] < 0.97
        assert slower.seconds < 10.0


@pytest.mark.parametrize("open_s", [0.001, 0.05, 0.3, 2.0])
def test_what_loads_slowly_is_loaded_less_often_and_longer_within_the_budget(open_s):
    sample = loaded(0, 1.3, open_s=open_s)
    assert sample.seconds <= 10.5
    quick = loaded(0, 1.3, open_s=0.001)
    pairs, often = (np.median([len(load.pairs) for load in one.loads]) for one in (sample, quick))
    if open_s > 0.1:
        assert len(sample.loads) < len(quick.loads) / 2
    if open_s > 1:
        assert pairs > 8 * often


def test_of_few_loads_only_what_is_far_away_is_decided():
    far = loaded(0, 3.0, [1.2], open_s=2.0)
    assert far.decided
    assert len(far.loads) < 5
    near = loaded(0, 1.3, [1.2], open_s=2.0)
    assert not near.decided
    assert any("budget of about" in line for line in near.would_decide())
    low, high = near.interval
    assert low < 1.2 < 1.3 < high


@pytest.mark.parametrize(
    ("call_s", "decided"), [(0.05, True), (0.3, True), (0.5, False), (1.0, False), (5.0, False)]
)
def test_of_slow_calls_what_can_be_decided_is(call_s, decided):
    sample = loaded(1, 1.5, [1.2], call_s=call_s)
    assert sample.decided is decided
    assert decided or any("budget of about" in line for line in sample.would_decide())
    assert sample.seconds <= 10.0 or len(sample.loads) == 1
    assert sample.ratio == pytest.approx(1.5, rel=0.06)


class Fake:
    """Takes loads of a tenth of a second, of which a simulated clock tells."""

    def __init__(self, start_s: float = 0.3, can: bool = True) -> None:
        self.now, self.start_s, self.can, self.calls = 0.0, start_s, can, list[str]()
        self.seeds = list[int]()

    def clock(self) -> int:
        return int(self.now * 1e9)

    def load(self) -> PairedLoad:
        self.now += 0.1
        return PairedLoad((), (np.ones(1), np.ones(1)), 1.0, 1, 0, (1e-3, 1e-3), 0.1, 0.1)

    def take(self, seed, known_s):
        assert (known_s is None) is (not self.calls)
        self.calls.append("here")
        self.seeds.append(seed)
        return self.load()

    def elsewhere(self, seeds, known_s):
        assert known_s == (1e-3, 1e-3)
        self.now += self.start_s
        if not self.can:
            self.calls.append("failed")
            return []
        self.calls.append("fresh")
        self.seeds += seeds
        return [self.load() for _ in seeds]

    def gather(self, budget_s=10.0, done=lambda loads: False):
        return gather(self.take, done, budget_s, elsewhere=self.elsewhere, clock=self.clock)


def test_every_other_load_is_in_a_fresh_process_where_that_starts_quickly():
    fake = Fake()
    loads, processes = fake.gather(done=lambda loads: len(loads) >= 10)
    assert fake.calls == ["here"] * A_PROCESS + ["fresh"] * 4
    assert (len(loads), processes) == (10, 5)
    assert len(set(fake.seeds)) == 10


def test_once_starting_took_a_third_of_the_budget_no_more_are_started():
    fake = Fake()
    _, processes = fake.gather(budget_s=6.0)
    assert 0.3 * (processes - 2) <= 2.0 < 0.3 * processes
    assert fake.now <= 6.0
    slow = Fake(start_s=4.0)
    _, processes = slow.gather(budget_s=10.0)
    assert processes == 2
    assert slow.now <= 10.0


def test_what_a_load_takes_longer_there_counts_as_starting():
    """As where a fresh process imports what this one has imported long ago."""
    fake = Fake(start_s=0.0)
    quick = fake.load

    def imports() -> PairedLoad:
        fake.now += 2.0
        return replace(quick(), seconds=2.1)

    def elsewhere(seeds, known_s):
        fake.calls.append("fresh")
        return [imports(), quick()]

    loads, processes = gather(fake.take, lambda _: False, 10.0, elsewhere=elsewhere, clock=fake.clock)
    assert processes == 3
    assert len(loads) > 50
    assert fake.now <= 10.0


def test_a_first_process_that_starts_slowly_is_not_the_last_where_the_others_are_its_forks():
    fake, starts = Fake(), iter([3.0])

    def elsewhere(seeds, known_s):
        fake.start_s = next(starts, 0.01)
        return Fake.elsewhere(fake, seeds, known_s)

    _, processes = gather(fake.take, lambda _: False, 10.0, elsewhere=elsewhere, clock=fake.clock)
    assert processes > 20
    assert fake.now <= 10.0


def test_what_cannot_be_opened_elsewhere_is_loaded_here():
    fake = Fake(can=False)
    loads, processes = fake.gather(budget_s=3.0)
    assert fake.calls.count("failed") == 1
    assert processes == 1
    assert len(loads) == fake.calls.count("here") > 10


def test_a_small_budget_holds_one_load_and_no_process():
    fake = Fake()
    loads, processes = fake.gather(budget_s=0.001)
    assert (len(loads), processes) == (1, 1)


def test_nothing_is_decided_by_one_process():
    asked = []
    Fake().gather(budget_s=5.0, done=lambda loads: bool(asked.append(len(loads)) or True))
    assert asked == [LEAST]


class Falling:
    """A clock for the gauge whose every reading takes `slow` times as long once it has fallen."""

    def __init__(self) -> None:
        self.now, self.slow, self.reading = 0.0, 1.0, False

    def __call__(self) -> int:
        if self.reading:
            self.now += 20e-6 * self.slow
        self.reading = not self.reading
        return int(self.now * 1e9)


def test_a_clock_that_has_fallen_for_good_is_not_disturbed_for_ever():
    clock = Falling()
    gauge = AdditionGauge(best=20e-6, clock=clock)
    clock.reading = False
    clock.slow = 1.5
    assert gauge() > 1.3 * gauge.best
    for _ in range(60):
        clock.now += 1.0
        reading = gauge()
    assert reading <= 1.01 * gauge.best
