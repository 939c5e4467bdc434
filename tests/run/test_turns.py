"""With several workers, one case at a time is timed, and those that wait lose none of their time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.projects import CASE, report_of, statuses, write_project

from weighbridge.run import pipeline
from weighbridge.run.events import Waiting
from weighbridge.run.turns import Turns

pytest.importorskip("xdist")
STAMPING = """
import json, time
from pathlib import Path
from weighbridge.contracts import MEASURES, THRESHOLDS, Measure, Threshold
from weighbridge.core.results import Measurement, Reading

HERE = Path(__file__).parent

def run(weighing):
    began = time.monotonic()
    time.sleep(SECONDS)
    with (HERE / "stamps.txt").open("a") as file:
        file.write(json.dumps([began, time.monotonic()]) + "\\n")
    return Measurement("stamp", "count", 1.0, None, {})

if "stamp" not in MEASURES.names():
    MEASURES.add("stamp", Measure("stamp", run, bench=True))
    THRESHOLDS.add("stamp", Threshold("stamp", "stamp", "max", "count", lambda measured, limit: Reading(1.0), "Stamps."))
"""


def timed(pytester: pytest.Pytester, seconds: float, names: Sequence[str], extra: str = "") -> None:
    cases = write_project(pytester.path)
    pytester.makeconftest(STAMPING.replace("SECONDS", str(seconds)))
    for name in names:
        (cases / f"{name}.yaml").write_text(
            CASE.partition("thresholds:")[0] + f"{extra}thresholds: {{stamp: 2}}\n"
        )
    pytester.runpytest_subprocess("--bench", "-n", "2", "-p", "no:cacheprovider")


@pytest.mark.worker
@pytest.mark.slow
def test_one_at_a_time_has_the_clock(pytester: pytest.Pytester) -> None:
    timed(pytester, 0.5, ("one", "two", "three", "four"))
    assert set(statuses(pytester.path).values()) == {"pass"}, report_of(pytester.path)
    spans = sorted(map(json.loads, (pytester.path / "stamps.txt").read_text().splitlines()))
    assert len(spans) == 4
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))


@pytest.mark.worker
@pytest.mark.slow
def test_waiting_is_no_part_of_a_limit_of_time(pytester: pytest.Pytester) -> None:
    """Each takes 10 s of its 18, and one of the two waits for another 10."""
    timed(pytester, 10, ("one", "two"), "limits: {time: 18s}\n")
    assert set(statuses(pytester.path).values()) == {"pass"}, report_of(pytester.path)


@pytest.mark.parametrize(
    "ending", [KeyboardInterrupt(), OSError("disk I/O error")], ids=["by hand", "by the disk"]
)
def test_what_ends_the_wait_for_the_clock_is_what_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: BaseException
) -> None:
    """It was an error of the lock, that nobody held it: Ctrl-C ended one case, and the next began."""
    told: list[Any] = []
    turns = Turns(tmp_path, told.append)

    def ended() -> None:
        raise ending

    monkeypatch.setattr(turns._lock, "acquire_write", ended)
    with pytest.raises(type(ending)), turns.working(), turns.timing():
        raise AssertionError("it has the clock")
    assert [one.begins for one in told] == [True, False, True, False]
    other = Turns(tmp_path, told.append)
    with other.working(), other.timing():
        pass


def test_waiting_takes_nothing_from_the_time_for_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(pipeline, "time", SimpleNamespace(monotonic=lambda: clock.now))
    where, job = pipeline._Where(lambda event: None, 1), SimpleNamespace(limits=SimpleNamespace(time=100.0))

    def after(seconds: float, *events: Any) -> float:
        clock.now += seconds
        for event in events:
            where.tell(event)
        return where.patience(job)  # type: ignore[arg-type]  # of a job, it reads the limits

    assert after(20) == 20
    after(0, Waiting(True))
    assert after(50, Waiting(False)) == 20
    assert after(40) == 10
    after(0, Waiting(True))
    assert after(7, Waiting(False)) == 10
