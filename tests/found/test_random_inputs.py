"""A verdict on invented inputs never reads like one on data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.found.text_model import network, texts
from tests.projects import weigh, write_project

from weighbridge.case.load import load_cases
from weighbridge.case.scaffold import Subject, scaffold
from weighbridge.contracts import THRESHOLDS, Array, Inputs, Limit
from weighbridge.core.batches import count
from weighbridge.core.errors import CaseError
from weighbridge.core.results import Status
from weighbridge.engines.onnxruntime import OnnxRuntimeSession
from weighbridge.formats.stated_inputs import stated_inputs

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


def test_invented_samples_come_in_batches_too(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """256 long recordings in one call took 17 GB."""
    sizes: list[int] = []
    run = OnnxRuntimeSession.run

    def counted(session: OnnxRuntimeSession, inputs: Inputs) -> Sequence[Array]:
        sizes.append(count(inputs))
        return run(session, inputs)

    monkeypatch.setattr(OnnxRuntimeSession, "run", counted)
    weigh(folder, f"{ONNX}inputs: random\nrecipe: [{{quantize: dynamic}}]\n".replace("5}", "90}"))
    assert max(sizes) == 64
    assert sizes.count(64) >= 2 * 4


def test_random_needs_shapes_where_the_file_declares_none(tmp_path: Path) -> None:
    folder = write_project(tmp_path)
    case = "model: {torch: model.py:net}\nrecipe: [{quantize: dynamic, engine: torch}]\nthresholds: {fidelity: 5}\ninputs: "
    assert "write them, `inputs: [[3, 224, 224]]`" in weigh(folder, f"{case}random\n").message
    assert weigh(folder, f"{case}[[16]]\n").measurements["fidelity"].details["inputs"] == "random"


OPEN = """
<ir_version: 8, opset_import: ["" : 17]>
open (int64[batch, tokens] ids, float[2, batch, 4] state, float gain) => (float[batch, tokens] y)
<float[9] table = {1, 2, 3, 4, 5, 6, 7, 8, 9}, int64[1] one = {1}> {
    rows = Gather (table, ids)
    sums = ReduceMean <axes = [0, 2], keepdims = 0> (state)
    column = Unsqueeze (sums, one)
    louder = Mul (rows, gain)
    y = Add (louder, column)
}
"""
FIXED_STATE = """
<ir_version: 8, opset_import: ["" : 17]>
steps (float[time, 5] x, float[1, 3, 4] state) => (float[time, 5] y) {
    mean = ReduceMean <keepdims = 0> (state)
    y = Add (x, mean)
}
"""


def test_what_a_file_leaves_open_is_named_and_drawn_of_its_types(tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(OPEN), tmp_path / "open.onnx")
    case = "model: {onnx: open.onnx}\ncandidate: {onnx: open.onnx}\nthresholds: {fidelity: 100}\n"
    stated = "inputs: {ids: [tokens], state: [2, 4], gain: []}", "batch: {state: 1, gain: null}"
    message = weigh(tmp_path, f"{case}inputs: random\n").message
    assert f"write them, `{stated[0]}` and `{stated[1]}`" in message
    first = scaffold(Subject(str(tmp_path / "open.onnx")))
    assert "\n".join(stated) in first
    (tmp_path / "case.yaml").write_text(first)
    with pytest.raises(CaseError, match=r"inputs\.ids\.0: should be a whole number, not 'tokens'"):
        load_cases(tmp_path / "case.yaml")
    outcome = weigh(tmp_path, case + "\n".join(stated).replace("tokens", "5") + "\n")
    assert outcome.status is Status.PASS, outcome.message
    assert outcome.measurements["fidelity"].details["samples"] == 256


def test_a_state_of_fixed_size_is_not_drawn_by_the_batch(tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(FIXED_STATE), tmp_path / "steps.onnx")
    case = "model: {onnx: steps.onnx}\ncandidate: {onnx: steps.onnx}\nthresholds: {fidelity: 100}\n"
    stated = "inputs: {x: [5], state: [1, 3, 4]}", "batch: {state: null}"
    assert (
        f"write them, `{stated[0]}` and `{stated[1]}`" in weigh(tmp_path, f"{case}inputs: random\n").message
    )
    outcome = weigh(tmp_path, case + "\n".join(stated) + "\n")
    assert outcome.status is Status.PASS, outcome.message


@pytest.mark.parametrize(
    ("shapes", "lines"),
    [
        ({}, ()),
        ({"gain": []}, ("inputs: {gain: []}", "batch: {gain: null}")),
        ({"x": [1, "?", 3]}, ("inputs: {x: ['?', 3]}",)),
        ({"x": [1, 576], "state": [2, 1, 128]}, ("inputs: {x: [576], state: [2, 128]}", "batch: {state: 1}")),
        ({"state": [2, 8], "x": ["n", 3]}, ("inputs: {state: [2, 8], x: [3]}", "batch: {state: null}")),
        ({"x": ["n", 3], "y": ["m", "k"]}, ("inputs: {x: [3], 'y': [k]}",)),
    ],
)
def test_the_batch_is_found_in_the_shapes_of_a_file(shapes: dict[str, Any], lines: tuple[str, ...]) -> None:
    assert stated_inputs([{"name": name, "shape": shape} for name, shape in shapes.items()]) == lines


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
    (tmp_path / "case.yaml").write_text(scaffold(Subject(model, data=data)))
    (case,) = load_cases(tmp_path / "case.yaml")
    assert (case.data is None) == (data is None)
    assert (case.inputs is None) == (data is not None)
