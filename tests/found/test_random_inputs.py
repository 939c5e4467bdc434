"""A verdict on invented inputs never reads like one on data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.found.text_model import network, texts
from tests.projects import weigh, write_project

from weighbridge.case.scaffold import Subject, scaffold
from weighbridge.contracts import THRESHOLDS, Limit
from weighbridge.core.results import Status

ONNX = "model: {onnx: text.onnx}\nthresholds: {fidelity: 5}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(network(), tmp_path / "text.onnx")
    ids, mask, y = texts()
    np.savez(tmp_path / "texts.npz", **{f"{split}_{name}": array for split in ("test", "calibration")
                                       for name, array in (("ids", ids), ("mask", mask), ("y", y))})  # fmt: skip
    return tmp_path


@pytest.mark.parametrize("inputs", ["", "inputs: random\n", "inputs: {ids: [24], mask: [24]}\n"])
def test_nothing_is_calibrated_on_noise(folder: Path, inputs: str) -> None:
    outcome = weigh(folder, f"{ONNX}{inputs}recipe: [{{quantize: static}}]\n")
    assert outcome.status is Status.ERROR
    assert (
        "the case's inputs are random, and what is learned from noise holds for noise only" in outcome.message
    )
    assert "give `data` with the split 'calibration', or use a method that needs none" in outcome.message


def test_on_data_it_is(folder: Path) -> None:
    outcome = weigh(folder, f"{ONNX}data: texts.npz\nrecipe: [{{quantize: static}}]\n")
    assert outcome.measurements["fidelity"].details["inputs"] == "data", outcome.message


@pytest.mark.parametrize("inputs", ["", "inputs: random\n"])
def test_what_is_measured_on_noise_says_so(folder: Path, inputs: str) -> None:
    outcome = weigh(folder, f"{ONNX}{inputs}recipe: [{{quantize: dynamic}}]\n")
    fidelity = outcome.measurements["fidelity"]
    assert fidelity.details["inputs"] == "random"
    assert "on random inputs" in THRESHOLDS.get("fidelity").read(fidelity, Limit(min=5)).note
    on_data = weigh(folder, f"{ONNX}data: texts.npz\nrecipe: [{{quantize: dynamic}}]\n").measurements[
        "fidelity"
    ]
    assert THRESHOLDS.get("fidelity").read(on_data, Limit(min=5)).note == ""


def test_random_needs_shapes_where_the_file_declares_none(tmp_path: Path) -> None:
    folder = write_project(tmp_path)
    case = "model: {torch: model.py:net}\nrecipe: [{quantize: dynamic, engine: torch}]\nthresholds: {fidelity: 5}\ninputs: "
    assert "write them, `inputs: [[3, 224, 224]]`" in weigh(folder, f"{case}random\n").message
    assert weigh(folder, f"{case}[[16]]\n").measurements["fidelity"].details["inputs"] == "random"


def test_the_first_case_is_honest_without_data_and_better_with_it(folder: Path) -> None:
    """Without data it claims no accuracy and no fidelity; both run as they are written."""
    bare, full = scaffold(Subject("text.onnx")), scaffold(Subject("text.onnx", data="texts.npz"))
    assert "inputs: random" in bare
    assert "data:" in bare.replace("# data:", "data:")
    stated = [line.strip() for line in bare.splitlines() if not line.startswith("#")]
    assert not any(line.startswith(("fidelity", "accuracy")) for line in stated)
    outcome = weigh(folder, bare.replace("size_ratio: 3 ", "size_ratio: 1.1 "))
    assert outcome.status is Status.PASS, outcome.message
    outcome = weigh(folder, full)
    assert outcome.measurements["accuracy"].details["n"] == 300, outcome.message


@pytest.mark.parametrize("model", ["model.py:net", "a.onnx", "a.tflite", "a.keras", "a.pt2"])
@pytest.mark.parametrize("data", [None, "data.py:splits"])
def test_every_first_case_is_a_valid_one(tmp_path: Path, model: str, data: str | None) -> None:
    from weighbridge.case.load import load_cases

    (tmp_path / "case.yaml").write_text(scaffold(Subject(model, data=data)))
    (case,) = load_cases(tmp_path / "case.yaml")
    assert (case.data is None) == (data is None)
    assert (case.inputs is None) == (data is not None)
