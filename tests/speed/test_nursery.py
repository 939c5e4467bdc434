"""Work in forks of a process that has imported what it needs, and in processes of their own where forks do not do."""

import atexit
import contextlib
import os
import pickle
import sys
import time

import psutil
import pytest

from weighbridge.measure.timing.nursery import Nursery

STARTER = "WEIGHBRIDGE_TEST_STARTER"


def parents(_number):
    """The processes in which this is done, and of which it was forked."""
    return os.getpid(), os.getppid()


def imported(_number):
    return "sqlite3" in sys.modules


def printed(number):
    os.write(1, b"what a library prints")
    print("and what Python does", flush=True)
    return number


def only_where_started(_number):
    """As after an import that begins threads: a fork does not have them."""
    if str(os.getppid()) != os.environ[STARTER]:
        raise RuntimeError("in a fork")
    return os.getpid()


def dies(_number):
    os._exit(3)


def exits_slowly(_number):
    """As libraries that wait at exit for threads which a fork does not have."""
    atexit.register(time.sleep, 60)
    return os.getppid()


def waits(_number):
    time.sleep(60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_each_task_has_a_process_of_its_own_and_all_of_one_parent():
    with Nursery(parents, (), 10.0) as nursery:
        seen = [nursery(number) for number in range(3)]
    assert len({process for process, _ in seen}) == 3
    assert len({parent for _, parent in seen}) == 1


def test_packages_are_imported_beforehand():
    with Nursery(imported, ("sqlite3",), 10.0) as nursery:
        assert nursery(0)


def test_what_is_printed_is_no_answer():
    with Nursery(printed, (), 10.0) as nursery:
        assert [nursery(1), nursery(2)] == [1, 2]


def test_where_a_fork_fails_each_task_has_a_process_that_is_started_for_it(monkeypatch):
    monkeypatch.setenv(STARTER, str(os.getpid()))
    with Nursery(only_where_started, (), 10.0) as nursery:
        seen = {nursery(number) for number in range(2)}
    assert len(seen) == 2
    assert None not in seen


def test_where_none_can_do_it_there_is_no_answer():
    with Nursery(dies, (), 10.0) as nursery:
        assert nursery(0) is None
    with Nursery(lambda number: number, (), 10.0) as nursery:
        assert nursery(0) is None


@pytest.mark.slow
def test_work_that_hangs_is_given_up():
    with Nursery(waits, (), 1.0) as nursery:
        assert nursery(0) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_what_libraries_do_at_exit_is_not_waited_for():
    """A fork that did would be given up, and the next task be done in another process."""
    with Nursery(exits_slowly, (), 1.0) as nursery:
        assert nursery(0) == nursery(0)


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that ends a process with its parent")
def test_no_process_is_left():
    before = set(psutil.Process().children(recursive=True))
    with Nursery(parents, (), 10.0) as nursery:
        nursery(0)
        began = set(psutil.Process().children(recursive=True)) - before
        assert began
    assert not any(process.is_running() for process in began)


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that ends a process with its parent")
def test_a_fork_goes_with_whoever_asked_for_it():
    """Where the caller is interrupted while a fork is at work, neither is left."""
    with contextlib.suppress(KeyboardInterrupt), Nursery(waits, (), 60.0) as nursery:
        process = nursery._start()
        process.stdin.write(pickle.dumps((0,)))
        process.stdin.flush()
        started = psutil.Process(process.pid)
        until = time.monotonic() + 20
        while not (forks := started.children()) and time.monotonic() < until:
            time.sleep(0.05)
        assert forks
        raise KeyboardInterrupt
    _, alive = psutil.wait_procs([started, *forks], timeout=10)
    assert not alive
