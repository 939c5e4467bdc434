"""A thread is moved off a core that has a neighbour, goes before the others, and ends where and as it began."""

import os
import sys

import pytest

from weighbridge.measure.timing.cores import FIRST, MOVE_S, OneCore, OtherCores, best_cores

linux = pytest.mark.skipif(sys.platform != "linux", reason="affinity and priority of a thread are Linux's")


class Clock:
    now = 0.0

    def __call__(self) -> int:
        return int(self.now * 1e9)


@pytest.fixture
def placed(monkeypatch):
    """The cores that the thread was sent to, which it is not."""
    seen = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: seen.append((pid, cores)))
    return seen


@linux
def test_it_moves_on_after_a_while_without_an_undisturbed_moment(placed):
    clock = Clock()
    cores, answers = OtherCores([3, 5], clock), []
    for undisturbed in (False, True, False, False, False, False, False, True):
        clock.now += 0.6 * MOVE_S
        answers.append(cores.moved(undisturbed))
    assert answers == [False, False, False, True, False, True, False, False]
    assert placed == [(0, {3}), (0, {5})]


def state():
    return os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)


@linux
def test_all_is_as_before_even_after_an_error():
    def crashes():
        with best_cores(threads=1):
            os.sched_setaffinity(0, {min(before[0])})
            raise RuntimeError("a model that does not run")

    before = state()
    with pytest.raises(RuntimeError, match="does not run"):
        crashes()
    assert state() == before


@linux
def test_it_goes_before_the_others_where_it_may(monkeypatch):
    asked = []
    monkeypatch.setattr(os, "setpriority", lambda which, who, niceness: asked.append(niceness))
    with best_cores(threads=1):
        assert asked == [FIRST]
    assert asked == [FIRST, state()[1]]


@linux
def test_precedence_may_be_forbidden(monkeypatch):
    asked = []
    monkeypatch.setattr(os, "setpriority", lambda which, who, niceness: asked.append(niceness))
    with best_cores(threads=1, precedence=False):
        assert asked == []
    assert set(asked) <= {state()[1]}


@linux
def test_where_nothing_is_allowed_the_measurement_goes_on(monkeypatch):
    def refused(*_):
        raise PermissionError("not in this sandbox")

    monkeypatch.setattr(os, "setpriority", refused)
    monkeypatch.setattr(os, "sched_setaffinity", refused)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    clock = Clock()
    with best_cores(threads=1) as cores:
        assert isinstance(cores, OtherCores)
    cores = OtherCores([0, 1], clock)
    clock.now += 2 * MOVE_S
    assert cores.moved(undisturbed=False)


@linux
def test_the_threads_of_a_model_are_left_to_the_scheduler():
    before = state()
    with best_cores(threads=2) as cores:
        assert state() == before
        assert isinstance(cores, OneCore)
        assert not cores.moved(undisturbed=False)


def test_elsewhere_nothing_is_touched(monkeypatch, placed):
    monkeypatch.setattr(sys, "platform", "darwin")
    with best_cores(threads=1) as cores:
        assert isinstance(cores, OneCore)
    assert placed == []
