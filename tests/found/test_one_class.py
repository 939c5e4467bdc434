"""Classifiers that no longer tell classes apart, on a split of mostly one class, where a limit on a mean lets them pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from safetensors.numpy import load
from tests.projects import as_onnx, samples, trained, weigh

from weighbridge.core.results import Status

COMPARED = """
model: {onnx: net.onnx}
candidate: {onnx: candidate.onnx}
data: data.npz
thresholds: {accuracy_drop: 0.1, accuracy: 0.9, flip_rate: 0.1}
"""
ALONE = """
model: {onnx: candidate.onnx}
data: data.npz
thresholds: {accuracy: 0.9}
"""


def write(folder: Path, of_others: int, leaning: float) -> None:
    """`net.onnx`, the same with its answers leaning to class 0, and samples that the first answers rightly, so many of other
    classes.
    """
    proto = onnx.load_from_string(as_onnx(load(trained())))
    inputs, labels = samples(2, 4000)
    (scores,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": inputs})
    right = scores.argmax(1) == labels
    rows = np.concatenate(
        [np.flatnonzero(right & (labels == 0))[:370], np.flatnonzero(right & (labels != 0))[:of_others]]
    )
    np.savez(folder / "data.npz", test_x=inputs[rows], test_y=labels[rows])
    onnx.save(proto, folder / "net.onnx")
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "4.bias")
    leaned = numpy_helper.to_array(bias) + np.array([leaning, 0, 0, 0], np.float32)
    bias.CopyFrom(numpy_helper.from_array(leaned, bias.name))
    onnx.save(proto, folder / "candidate.onnx")


def found(folder: Path, text: str) -> Any:
    return weigh(folder, text, also=()).result


@pytest.mark.parametrize("text", [COMPARED, ALONE])
def test_one_class_for_all_samples_keeps_no_limit(tmp_path: Path, text: str) -> None:
    write(tmp_path, of_others=30, leaning=1000)
    result = found(tmp_path, text)
    assert {verdict.status for verdict in result.verdicts} == {Status.ERROR}
    assert all("class 0 is named for all 400 samples" in verdict.message for verdict in result.verdicts)


def test_a_limit_that_is_missed_is_a_missed_limit(tmp_path: Path) -> None:
    write(tmp_path, of_others=200, leaning=1000)
    result = found(tmp_path, COMPARED)
    assert {verdict.status for verdict in result.verdicts} == {Status.FAIL}


@pytest.mark.parametrize("text", [COMPARED, ALONE])
def test_one_that_still_tells_classes_apart_is_none(tmp_path: Path, text: str) -> None:
    """It loses most of the rare classes, which is what a limit of 10 points allows."""
    write(tmp_path, of_others=30, leaning=4)
    assert found(tmp_path, text).status is Status.PASS


def test_of_two_samples_of_another_class_nothing_is_known(tmp_path: Path) -> None:
    """Both may be missed by a right model; it is told."""
    write(tmp_path, of_others=2, leaning=1000)
    result = found(tmp_path, ALONE)
    assert result.status is Status.PASS
    accuracy = next(verdict for verdict in result.verdicts if verdict.threshold == "accuracy")
    assert any("class 0 is named for all 372 samples" in text for text in accuracy.advice)


def test_the_first_five_of_four_classes_hold_every_target(tmp_path: Path) -> None:
    write(tmp_path, of_others=200, leaning=1000)
    result = found(tmp_path, ALONE.replace("data: data.npz", "data: data.npz\nmetric: top5"))
    (verdict,) = result.verdicts
    assert verdict.status is Status.ERROR
    assert "of 4 classes the target is always among the first 5" in verdict.message
