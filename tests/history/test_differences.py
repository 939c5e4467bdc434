"""What two runs' numbers say of each other: never surer than their samples and machines allow."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.history.histories import CASE, FIRST, SECOND, report, row

from weighbridge.contracts import THRESHOLDS, Limit
from weighbridge.core import resampling, stats
from weighbridge.core.errors import Unavailable
from weighbridge.core.past import Alike, Past, past_of
from weighbridge.core.results import Measurement
from weighbridge.history.against import References
from weighbridge.history.history import History
from weighbridge.report.json import Json

SAME, OTHER = Alike(baseline=True, candidate=False), Alike(baseline=False, candidate=False)
DROP, SPEEDUP = (THRESHOLDS.get(name).since for name in ("accuracy_drop", "speedup"))
assert DROP is not None
assert SPEEDUP is not None


def counted(
    right: int, b: int = 0, c: int = 0, n: int = 1000, samples: str = "s1", **more: Any
) -> Measurement:
    """Right answers, of which `b` became worse and `c` better than the original's."""
    details = {"metric": "accuracy", "n": n, "right": right, "b": b, "c": c, "samples": samples}
    details |= {"drop": (b - c) / n, "higher_is_better": True, "directed": True, **more}
    return Measurement("accuracy", "fraction", right / n, None, details)


def averaged(value: float, drop: float, spread: float, samples: str = "s1") -> Measurement:
    """A metric without right and wrong, known to `spread`, its drop from the original to a tenth of it."""
    z = np.linspace(-4, 4, 401)
    details = {"metric": "auc", "n": 500, "samples": samples, "drop": drop, "higher_is_better": True}
    details |= {"candidate_quantiles": list(value + z * spread), "quantiles": list(drop + z * spread / 10)}
    return Measurement("accuracy", "", value, None, details)


def timed(ratio: float, half: float = 0.01, **more: Any) -> Measurement:
    details = {"ratio": ratio, "interval": [ratio * (1 - half), ratio * (1 + half)], "confidence": 0.99}
    details |= {"threads": 1, "batch": 1, "engine": "onnxruntime", "against": "onnxruntime", **more}
    return Measurement("speed", "ms", 1.0, ratio, details)


def test_the_drop_is_the_difference_of_what_was_right() -> None:
    reading = DROP(counted(950, b=40, c=10), counted(965, b=20, c=5), Limit(max=0.01), SAME)
    assert reading.value == pytest.approx(0.015)


def test_its_interval_holds_that_of_the_samples_that_really_changed() -> None:
    """Whatever number of samples changed: the two runs' own counts bound it, and the bound is cautious."""
    random = np.random.default_rng(0)
    original = random.random(1000) < 0.97
    for _ in range(50):
        then, now = (np.where(random.random(1000) < 0.02, ~original, original) for _ in range(2))
        b, c = int((then & ~now).sum()), int((~then & now).sum())
        measured = [
            counted(int(side.sum()), int((original & ~side).sum()), int((~original & side).sum()))
            for side in (now, then)
        ]
        reading = DROP(*measured, Limit(max=0.01), SAME)
        low, high = stats.tango_interval(b, c, 1000, 0.95)
        assert reading.value == pytest.approx((b - c) / 1000)
        assert reading.interval is not None
        assert reading.interval[0] <= low + 1e-9
        assert reading.interval[1] >= high - 1e-9
        sure = stats.tango_sure(b, c, 1000, 0.01)
        assert reading.sure is not None
        assert (reading.sure <= sure + 1e-9) if reading.value <= 0.01 else (reading.sure <= 1 - sure + 1e-9)


def test_the_same_original_tells_more_than_none() -> None:
    now, then = counted(950, b=12, c=2), counted(952, b=10, c=2)
    widths = [
        high - low
        for alike in (SAME, OTHER)
        for low, high in [DROP(now, then, Limit(max=0.01), alike).interval]
    ]
    assert widths[0] < 0.6 * widths[1]


def test_the_same_file_changes_no_sample() -> None:
    alike = Alike(baseline=True, candidate=True)
    reading = DROP(counted(950, b=40, c=10), counted(950, b=40, c=10), Limit(max=0.01), alike)
    assert reading.interval == pytest.approx(stats.tango_interval(0, 0, 1000, 0.95))


def test_the_same_file_that_answers_otherwise_is_as_unsure_as_another() -> None:
    """Of the same bytes, code and versions another processor may round otherwise: 25 worse and 20 better are not 5 and 0."""
    now, then = counted(945, b=40, c=5), counted(950, b=38, c=8)
    same_file = DROP(now, then, Limit(max=0.01), Alike(baseline=True, candidate=True))
    assert same_file == DROP(now, then, Limit(max=0.01), SAME)


def test_an_original_that_answers_otherwise_bounds_nothing() -> None:
    """On another processor it may: 980 of 1000 were right then, and 978 are now."""
    now, then = counted(948, b=40, c=10), counted(950, b=40, c=10)
    assert DROP(now, then, Limit(max=0.01), SAME) == DROP(now, then, Limit(max=0.01), OTHER)


def test_other_samples_are_compared_as_such() -> None:
    reading = DROP(counted(950), counted(960, samples="s2"), Limit(max=0.01), SAME)
    low, high = reading.interval
    assert reading.value == pytest.approx(0.01)
    # Newcombe's interval for two independent shares, 1998, Stat. Med. 17:873, method 10
    (al, au), (bl, bu) = stats.wilson_interval(960, 1000, 0.95), stats.wilson_interval(950, 1000, 0.95)
    assert low == pytest.approx(0.01 - math.hypot(0.96 - al, bu - 0.95))
    assert high == pytest.approx(0.01 + math.hypot(au - 0.96, 0.95 - bl))


def test_how_sure_agrees_with_the_interval() -> None:
    """One-sided 97.5 % is where the two-sided interval at 95 % ends."""
    now, then = counted(950), counted(960, samples="s2")
    _, high = DROP(now, then, Limit(max=0.5), OTHER).interval
    assert DROP(now, then, Limit(max=high), OTHER).sure == pytest.approx(0.975, abs=1e-6)


def test_a_metric_that_is_no_share_is_compared_through_its_drops() -> None:
    now, then = averaged(0.90, 0.03, 0.02), averaged(0.91, 0.02, 0.02)
    (low, high), (wide_low, wide_high) = (
        DROP(now, then, Limit(max=0.1), alike).interval for alike in (SAME, OTHER)
    )
    assert low == pytest.approx(0.01 - 1.96 * 0.02 / 10 * math.sqrt(2), abs=1e-4)
    assert wide_high - wide_low == pytest.approx(10 * (high - low), rel=1e-3)


def test_a_thinned_distribution_says_the_same() -> None:
    values = resampling.of_means(np.random.default_rng(1).random((300, 1)), None, 1.0, 0)[0]
    assert resampling.interval(values[::10], 0.95) == pytest.approx(
        resampling.interval(values, 0.95), abs=1e-3
    )
    assert resampling.at_most(values[::10], 0.52) == pytest.approx(resampling.at_most(values, 0.52), abs=2e-3)


def test_an_error_that_grows_is_a_drop() -> None:
    lower = {"higher_is_better": False}
    assert DROP(counted(120, **lower), counted(100, **lower), Limit(max=0.01), OTHER).value == pytest.approx(
        0.02
    )


@pytest.mark.parametrize(
    ("then", "why"),
    [
        (counted(950, metric="top5"), "the metric was top5 then"),
        (replace(counted(1), candidate=math.nan), "NaN then"),
    ],
)
def test_what_is_another_thing_is_not_compared(then: Measurement, why: str) -> None:
    with pytest.raises(Unavailable, match=why):
        DROP(counted(950), then, Limit(max=0.01), SAME)


def test_a_speed_has_the_errors_of_both_runs() -> None:
    reading = SPEEDUP(timed(1.4, 0.03), timed(1.5, 0.04), THRESHOLDS.get("speedup").options(min=0.9), SAME)
    assert reading.value == pytest.approx(1.4 / 1.5)
    assert reading.interval == pytest.approx((1.4 / 1.5 * 0.95, 1.4 / 1.5 * 1.05), abs=0.003)
    assert reading.confidence == 0.99


@pytest.mark.parametrize(
    ("then", "alike", "why"),
    [(timed(1.5), OTHER, "the original is another"), (timed(1.5, threads=4), SAME, "threads was 4 then")],
)
def test_speeds_that_were_measured_otherwise_are_not_compared(
    then: Measurement, alike: Alike, why: str
) -> None:
    with pytest.raises(Unavailable, match=why):
        SPEEDUP(timed(1.4), then, THRESHOLDS.get("speedup").options(min=0.9), alike)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    found = tmp_path / "h.sqlite"
    history = History(str(found))
    history.keep(report(1, row(ratio=1.5)))
    history.keep(report(2, row(ratio=1.1), machine_class=SECOND))
    history.keep(report(3, row()))  # without --bench
    return found


@pytest.mark.parametrize(
    ("machine", "expected"), [(FIRST, 1.5), (SECOND, 1.1), ("a third", None), ("", None)]
)
def test_a_speed_is_compared_within_a_class_of_machines(
    machine: str, expected: float | None, place: Path, tmp_path: Path
) -> None:
    reference = References(str(place), tmp_path, machine).of(CASE, ["main"])["main"]
    assert reference.past is not None
    assert reference.past.run == report(3)["run"]
    if expected is None:
        assert reference.timed is None
        assert f"this one is '{machine}', and no time of it is kept" in reference.why_timed
    else:
        assert reference.timed is not None
        assert reference.timed.measurements["speed"].details["ratio"] == expected


def test_a_report_file_of_another_machine_has_no_speed(tmp_path: Path) -> None:
    (tmp_path / "then.json").write_text(Json().render(report(1, row(ratio=1.5))))
    alike, other = (
        References("", tmp_path, machine).of(CASE, ["then.json"])["then.json"] for machine in (FIRST, SECOND)
    )
    assert alike.timed == alike.past is not None
    assert other.timed is None
    assert other.past is not None
    assert References("", tmp_path, FIRST).of("cases/x.yaml::x", ["then.json"])["then.json"].why == (
        "the report has no such case"
    )


@pytest.mark.parametrize("beside", [{"code": "a"}, {"runtime": "onnxruntime 1.23.2"}])
def test_the_same_files_are_another_original_by_what_computes_their_answers(beside: dict[str, str]) -> None:
    one, other = row(), row()
    for side in ("baseline", "candidate"):
        other["artifacts"][side] |= beside
    pasts = [past_of(report(1, some), some) for some in (one, other)]
    assert pasts[0].baseline != pasts[1].baseline
    assert pasts[0].candidate != pasts[1].candidate


def test_digits_that_several_commits_begin_with_are_refused(tmp_path: Path) -> None:
    history = History(str(tmp_path / "h.sqlite"))
    for number in (1, 2):
        history.keep(report(number, commit=f"abcdef{number}" + "0" * 33))
    found = References(history.place, tmp_path, FIRST).of(CASE, ["abcdef", "abcdef1"])
    assert "the beginning of 2 commits" in found["abcdef"].why
    past = found["abcdef1"].past
    assert past is not None
    assert past.run == report(1)["run"]


def test_what_a_row_keeps_comes_back(tmp_path: Path) -> None:
    history, kept = History(str(tmp_path / "h.sqlite")), report(1, row(ratio=1.5))
    history.keep(kept)
    expected: Past = past_of(kept, kept["rows"][0])
    assert history.of_case(CASE, 1) == [expected]
