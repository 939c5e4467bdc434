"""Embeddings judged by recall at 1, and detectors that keep as many boxes as they are sure of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.projects import weigh, write_project

from weighbridge.core import resampling
from weighbridge.core.errors import StageError
from weighbridge.core.signal_to_noise import SignalToNoise
from weighbridge.measure import accuracy
from weighbridge.measure.evaluation import Evaluation
from weighbridge.measure.metrics import UserMetric

CASE = """
model: {torch: model.py:net, weights: net.safetensors}
data: metric.py:few
metric: metric.py:METRIC
allow_chance: true
recipe: [{prune: l1_unstructured, amount: 0.97}]
thresholds: {accuracy_drop: {max: 0.02, confidence: 0.9}}
"""
METRIC = """
import numpy as np
from model import splits


def nearest(outputs, targets, pool):
    distance = ((outputs[:, None] - outputs[None]) ** 2).sum(-1)
    distance[~pool] = np.inf
    return (targets[distance.argmin(1)] == targets).astype(float)


def recall(outputs, targets):
    return nearest(outputs, targets, ~np.eye(len(targets), dtype=bool)).mean()


def few():
    return {"test": tuple(part[:40] for part in splits()["test"])}


def smooth(outputs, targets):
    return float((outputs.argmax(1) == targets).mean()) ** 2
"""


def judged(folder: Path, metric: str) -> Any:
    cases = write_project(folder)
    (cases / "metric.py").write_text(METRIC)
    return weigh(cases, CASE.replace("METRIC", metric))


def test_a_metric_that_finds_the_copies_of_a_resample_is_not_said_to_be_sure(tmp_path: Path) -> None:
    verdict = judged(tmp_path, "recall").result.verdict("accuracy_drop")
    assert verdict.interval is None
    assert "a metric that holds samples against each other" in " ".join(verdict.advice)


def worst(outputs: Any, targets: Any) -> float:
    return float(min(outputs[targets == label].mean() for label in np.unique(targets)))


@pytest.mark.parametrize(("classes", "known"), [(2, True), (8, False)])
def test_a_figure_that_next_to_no_resample_comes_to_has_no_interval(
    monkeypatch: pytest.MonkeyPatch, classes: int, known: bool
) -> None:
    """Of 8 classes that are alike one is always worse by chance: 8 of 1000 resamples made the ends of an interval that did
    not hold the figure itself.
    """
    labels, right = np.repeat(np.arange(classes), 40), np.tile(np.arange(40) >= 4, classes).astype(float)
    side = Evaluation(len(labels), "", outputs=(right,), targets=labels)
    weighing: Any = SimpleNamespace(allow_chance=False)
    monkeypatch.setattr(accuracy, "_overflows", lambda weighing: False)
    details = accuracy.compare(UserMetric("worst", worst), side, None, weighing).details
    assert ("unlike_resamples" in details) is not known
    if known:
        low, high = resampling.interval(details["candidate_quantiles"], 0.95)
        assert low < 0.9 < high


def test_one_of_all_samples_that_holds_each_by_itself_is(tmp_path: Path) -> None:
    verdict = judged(tmp_path, "smooth").result.verdict("accuracy_drop")
    assert verdict.interval is not None, verdict
    low, high = verdict.interval
    assert low < verdict.measured < high


def test_outputs_of_many_shapes_are_told_by_the_first_of_them() -> None:
    images = [np.ones((boxes, 4)) for boxes in range(60)]
    with pytest.raises(StageError) as error:
        SignalToNoise().add(images, images[::-1])
    assert "(0, 4), (1, 4), (2, 4), (3, 4), ...; of a detector that keeps" in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_classes_that_a_model_names_are_right_or_not(kind: str) -> None:
    """Class 9 for 0 is no worse than 1 for 0: by the numbers one flip of ten was worth 81 of another."""
    classes = np.arange(10, dtype=kind)
    found = []
    for other in (1, 9):
        noise = SignalToNoise()
        noise.add([classes], [np.where(classes == 0, other, classes).astype(kind)])
        found += noise.outputs()
    assert found == pytest.approx([10, 10])


def test_a_model_that_names_class_0_alone_has_a_signal() -> None:
    noise = SignalToNoise()
    noise.add([np.zeros(8, np.int64), np.ones((8, 2))], [np.zeros(8, np.int64), np.ones((8, 2)) * 1.1])
    assert noise.worst() == pytest.approx(20, abs=0.1)


def test_pixels_have_a_distance() -> None:
    """What looks like classes, and is the picture that a model gives."""
    picture = np.full((1, 8, 8), 200, np.uint8)
    noise = SignalToNoise()
    noise.add([picture], [picture + np.uint8(2)])
    assert noise.worst() == pytest.approx(40, abs=0.1)
