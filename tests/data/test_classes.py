"""Flips and drops by class: counted right, accused only where it is sure, small in the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.found.test_limits import faults
from tests.planted.test_thresholds import MODELS
from tests.projects import weigh, write_project

from weighbridge.case.model import ThresholdRef
from weighbridge.contracts import Array, Limit
from weighbridge.core import stats
from weighbridge.core.errors import StageError
from weighbridge.core.results import Measurement, Verdict, to_json
from weighbridge.measure import accuracy, accuracy_reading, classes
from weighbridge.measure.evaluation import Evaluation
from weighbridge.run.judge import judge

CASE = """
model: {torch: models.py:original}
candidate: {torch: models.py:CANDIDATE}
data: model.py:splits
thresholds: {flip_rate: 0.02, worst_class_drop: 0.05}
"""


def evaluation(labels: Array, answers: Array) -> Evaluation:
    scores = (labels == answers).astype(float)
    return Evaluation(len(labels), "", scores=scores, answers=answers, labels=labels)


def measurement(labels: Any, before: Any, after: Any) -> Measurement:
    labels, before, after = (np.asarray(each) for each in (labels, before, after))
    details = {
        "metric": "accuracy",
        "n": len(labels),
        "overflows": False,
        **classes.compared(evaluation(labels, before), evaluation(labels, after)),
    }
    return Measurement("accuracy", "fraction", 0.5, 0.5, to_json(details))


def verdict(found: Measurement, threshold: str, **limit: float) -> Verdict:
    return judge(ThresholdRef(threshold, Limit(**limit), 1, 1), found)


def sizes(*lost_of: tuple[int, int]) -> Measurement:
    """A class for each (samples lost, samples), all right before."""
    labels = np.repeat(np.arange(len(lost_of)), [n for _, n in lost_of])
    after = np.concatenate([np.where(np.arange(n) < lost, -1, k) for k, (lost, n) in enumerate(lost_of)])
    return measurement(labels, labels, after)


def test_flips_are_what_changed_and_where() -> None:
    found = measurement([0, 1, 2, 2, 1, 0], [0, 1, 0, 0, 1, 2], [0, 2, 2, 1, 1, 2]).details["flips"]
    assert (found["total"], found["harmful"], found["helpful"]) == (3, 1, 1)
    assert found["listed"] == [
        {"position": 1, "target": 1, "before": 1, "after": 2, "harmful": True},
        {"position": 2, "target": 2, "before": 0, "after": 2, "harmful": False},
        {"position": 3, "target": 2, "before": 0, "after": 1, "harmful": False},
    ]


def test_the_worst_class_is_told_with_its_interval() -> None:
    worst = sizes((0, 60), (9, 60), (1, 60)).details["classes"]["worst"]
    assert [one["class"] for one in worst] == [1, 2, 0]
    assert worst[0]["candidate"] == pytest.approx(51 / 60)
    assert worst[0]["interval"] == pytest.approx(stats.tango_interval(9, 0, 60, 0.95))


@pytest.mark.parametrize(
    ("lost_of", "status"),
    [
        ([(0, 90), (40, 90)], "fail"),
        ([(0, 90), (0, 90)], "pass"),
        ([(0, 3), (0, 90)], "pass"),  # a small class in which nothing happened
        ([(1, 3), (0, 90)], "inconclusive"),
        ([(2, 3), (40, 90)], "fail"),  # the small one does not hide the one that is sure
        ([(6, 90), *[(0, 90)] * 99], "inconclusive"),  # one of a hundred classes
    ],
)
def test_a_class_is_accused_only_where_it_is_sure(lost_of: list[tuple[int, int]], status: str) -> None:
    found = sizes(*lost_of)
    judged = verdict(found, "worst_class_drop", max=0.05)
    assert judged.status == status
    if status == "inconclusive":
        assert "class 0 (100.0 % →" in judged.message
    if lost_of[0] == (2, 3):
        assert "class 1 (100.0 % → 55.6 % of 90 samples), 40 became wrong" in judged.message
    if lost_of[0] == (1, 3) and status == "inconclusive":
        assert any("class 0 has 3 samples" in line for line in judged.advice)


def test_with_a_confidence_only_what_is_sure_passes() -> None:
    assert (
        verdict(sizes((0, 3), (0, 900)), "worst_class_drop", max=0.05, confidence=0.9).status
        == "inconclusive"
    )
    assert verdict(sizes((0, 900), (0, 900)), "worst_class_drop", max=0.05, confidence=0.9).status == "pass"


@pytest.mark.parametrize("true", [[0.05] * 10, [0.0] * 9 + [0.15], [0.2] * 2 + [-0.05] * 8])
def test_the_interval_covers_the_largest_true_drop(true: list[float]) -> None:
    """Each sample becomes wrong or right by chance; 400 test sets of 40 samples a class, half of them right before."""
    random, covered, n, sets = np.random.default_rng(0), 0, 40, 400
    for _ in range(sets):
        # 10 % of the discordant samples beside the drop go each way
        counts = [random.multinomial(n, [max(d, 0) + 0.05, max(-d, 0) + 0.05, 0.9 - abs(d)]) for d in true]
        details = {
            "metric": "accuracy",
            "classes": {
                "total": len(true),
                "worst": [
                    {"class": 0, "n": n, "drop": max((b - c) / n for b, c, _ in counts), "lost": 0, "won": 0}
                    | {"baseline": 1.0, "candidate": 1.0}
                ],
                "counts": [[n, int(b), int(c)] for b, c, _ in counts],
            },
        }
        reading = classes.read_worst_class_drop(
            Measurement("accuracy", "fraction", 0, 0, details), Limit(max=0.1)
        )
        assert reading.interval is not None
        covered += reading.interval[0] <= max(true) <= reading.interval[1]
    assert covered / sets >= 0.95


def test_what_is_left_out_of_the_counts_changes_no_interval() -> None:
    """Classes in which nothing changed are kept as their smallest and largest."""
    lost_of = [(0, 20), (0, 35), (0, 50), (0, 80), (2, 40)]
    found = sizes(*lost_of)
    assert [0 for _, b, c in found.details["classes"]["counts"] if b + c == 0] == [0, 0]
    reading = classes.read_worst_class_drop(found, Limit(max=0.01))
    ends = [stats.tango_interval(lost, 0, n, 0.95)[1] for lost, n in lost_of]
    lows = [stats.tango_interval(lost, 0, n, 1 - 0.05 / 5)[0] for lost, n in lost_of]
    assert reading.interval == pytest.approx((max(lows), max(ends)))


def test_a_thousand_classes_stay_small() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(1000), 50)
    answers = [
        np.where(random.random(50_000) < 0.8, labels, random.integers(0, 1000, 50_000)) for _ in range(2)
    ]
    found = measurement(labels, *answers)
    assert len(found.details["flips"]["listed"]) == 50
    assert len(found.details["classes"]["worst"]) == 10
    assert len(json.dumps(to_json(found.details))) < 15_000


def test_the_share_of_flips_is_judged_with_its_interval() -> None:
    labels = np.zeros(400, int)
    after = np.where(np.arange(400) < 20, 1, 0)
    judged = verdict(measurement(labels, labels, after), "flip_rate", max=0.02)
    assert judged.status == "fail"
    assert judged.measured == 0.05
    assert judged.interval == pytest.approx(stats.wilson_interval(20, 400, 0.95))
    assert judged.sure is not None
    assert judged.sure > 0.999
    assert verdict(measurement(labels, labels, labels), "flip_rate", max=0.0).status == "pass"


def test_answers_that_change_from_wrong_to_wrong_are_flips() -> None:
    labels, before, after = np.zeros(100, int), np.ones(100, int), np.full(100, 2)
    found = measurement(labels, before, after)
    assert verdict(found, "flip_rate", max=0.5).status == "fail"
    assert verdict(found, "worst_class_drop", max=0.01).status == "pass"


def test_a_failing_accuracy_names_samples_and_class() -> None:
    found = sizes((1, 50), (7, 50))
    (line,) = classes.tell_flips(found.details)
    assert line == (
        "8 samples flipped from right to wrong, 7 of them of class 1 (100.0 % → 86.0 % of 50 samples); in the test split, "
        "from 0: 0, 50, 51, 52, 53 …"
    )
    assert line in accuracy_reading.advise(found)
    assert classes.tell_flips(sizes((0, 50), (0, 50)).details) == []


@pytest.mark.parametrize("metric", ["mse", "model.py:score"])
@pytest.mark.parametrize("threshold", ["flip_rate: 0.1", "worst_class_drop: 0.1"])
def test_a_metric_without_classes_is_a_fault(tmp_path: Path, metric: str, threshold: str) -> None:
    assert "one class: accuracy, top5" in faults(tmp_path, threshold, f"metric: {metric}\n")
    assert faults(tmp_path, threshold) == ""


@pytest.mark.parametrize("read", [classes.read_flip_rate, classes.read_worst_class_drop])
def test_a_measurement_without_classes_says_which_metrics_have_them(read: Callable[..., Any]) -> None:
    found = Measurement("accuracy", "", 1.0, 1.0, {"metric": "mse", "n": 5})
    with pytest.raises(StageError, match=r"metric mse has no classes.*accuracy, top5"):
        read(found, Limit(max=0.1))


@pytest.mark.parametrize(
    ("threshold", "meant"),
    [("flip_rate: 2", "0.02"), ("flip_rate: 1", "missed"), ("worst_class_drop: 5", "0.05")],
)
def test_a_limit_that_cannot_be_missed_is_a_fault(tmp_path: Path, threshold: str, meant: str) -> None:
    assert meant in faults(tmp_path, threshold)


def test_swapped_classes_are_caught_and_another_threshold_costs_no_inference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_project(tmp_path)
    (folder / "models.py").write_text(MODELS)
    found = weigh(folder, CASE.replace("CANDIDATE", "less_accurate"))
    assert [one.status for one in found.verdicts] == ["fail", "fail"]
    flips = found.measurements["accuracy"].details["flips"]
    assert {(one["before"], one["after"]) for one in flips["listed"]} <= {(0, 1), (1, 0)}

    def never(*_: Any) -> Any:
        raise AssertionError("the samples were run again")

    monkeypatch.setattr(accuracy, "evaluate", never)
    again = weigh(folder, CASE.replace("CANDIDATE", "less_accurate").replace("0.02", "0.9"))
    assert [one.status for one in again.verdicts] == ["pass", "fail"]
    assert again.measurements["accuracy"].details["flips"] == flips


def test_the_same_answers_pass(tmp_path: Path) -> None:
    folder = write_project(tmp_path)
    (folder / "models.py").write_text(MODELS)
    found = weigh(folder, CASE.replace("CANDIDATE", "same_but_one_bit").replace("0.02", "0"))
    assert [one.status for one in found.verdicts] == ["pass", "pass"]
