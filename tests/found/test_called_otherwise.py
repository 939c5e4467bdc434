"""A candidate that is called in another way than the original, is the original itself, or answers with text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load
from tests.projects import as_onnx, trained, weigh, write_project

from weighbridge.core.results import Status

OTHERWISE = "a program that calls one by name or position may not call the other"
SHEET = "model: {onnx: ORIGINAL.onnx}\ncandidate: {onnx: CANDIDATE.onnx}\ndata: data.npz\n"


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """The network as it is, with a second output, under another name of its output, with text as its answer."""
    folder = write_project(tmp_path)

    def variant(name: str, last: str, output: str, kind: int, **options: int) -> None:
        model = onnx.load_model_from_string(as_onnx(load(trained())))
        model.graph.node.append(helper.make_node(last, ["y"], [output], **options))
        made = helper.make_tensor_value_info(output, kind, ["n", 4])
        if name != "two":
            del model.graph.output[:]
        model.graph.output.append(made)
        onnx.save(model, folder / f"{name}.onnx")

    (folder / "one.onnx").write_bytes(as_onnx(load(trained())))
    variant("two", "Neg", "margin", TensorProto.FLOAT)
    variant("renamed", "Identity", "scores", TensorProto.FLOAT)
    variant("text", "Cast", "names", TensorProto.STRING, to=TensorProto.STRING)
    return folder


@pytest.mark.parametrize(
    ("original", "candidate", "told"),
    [
        ("two", "one", f"the candidate's outputs are y, the original's y, margin: {OTHERWISE}"),
        ("one", "renamed", f"the candidate's outputs are scores, the original's y: {OTHERWISE}"),
        (
            "one",
            "one",
            "the candidate is the original, byte for byte: what is compared is one file with itself",
        ),
    ],
)
def test_it_is_told_beside_an_accuracy_that_holds(
    cases: Path, original: str, candidate: str, told: str
) -> None:
    text = SHEET.replace("ORIGINAL", original).replace("CANDIDATE", candidate)
    found = weigh(cases, f"{text}thresholds: {{accuracy_drop: 0.01}}\n")
    assert found.result.status is Status.PASS
    assert told in found.notes


def test_an_only_input_of_another_name_is_still_it_where_the_samples_are_invented(cases: Path) -> None:
    """Each conversion to `.tflite` renames it, and nobody but the file has named it."""
    model = onnx.load(cases / "one.onnx")
    (given,) = model.graph.input
    for node in model.graph.node:
        node.input[:] = ["picture" if name == given.name else name for name in node.input]
    before, given.name = given.name, "picture"
    onnx.save(model, cases / "picture.onnx")
    text = SHEET.replace("ORIGINAL", "one").replace("CANDIDATE", "picture")
    found = weigh(cases, text.replace("data: data.npz", "inputs: random") + "thresholds: {fidelity: 40}\n")
    assert found.result.status is Status.PASS, found.failed
    assert f"the candidate's inputs are picture, the original's {before}: {OTHERWISE}" in found.notes


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_same_names_in_another_order_are_asked_for_in_the_originals(tmp_path: Path, engine: str) -> None:
    """Data comes by position, and a metric reads the first output: the original's, in both models."""
    weights = np.random.default_rng(0).standard_normal((6, 4)).astype("f4")

    def subtraction(inputs: Sequence[str], outputs: Sequence[str]) -> Any:
        nodes = [
            helper.make_node("Sub", ["left", "right"], ["difference"]),
            helper.make_node("MatMul", ["difference", "w"], ["logits"]),
            helper.make_node("Neg", ["logits"], ["other"]),
        ]
        shape = {"left": 6, "right": 6, "logits": 4, "other": 4}
        ports = (
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", shape[name]]) for name in names]
            for names in (inputs, outputs)
        )
        graph = helper.make_graph(nodes, "g", *ports, [numpy_helper.from_array(weights, "w")])
        return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])

    left, right = np.random.default_rng(1).standard_normal((2, 200, 6)).astype("f4")
    np.savez(tmp_path / "data.npz", x0=left, x1=right, y=((left - right) @ weights).argmax(1))
    onnx.save(subtraction(["left", "right"], ["logits", "other"]), tmp_path / "one.onnx")
    onnx.save(subtraction(["right", "left"], ["other", "logits"]), tmp_path / "two.onnx")
    text = SHEET.replace("ORIGINAL", "one").replace("CANDIDATE", "two")
    text += f"thresholds: {{accuracy_drop: 0.01, fidelity: 60}}\nengine: {engine}\n"
    found = weigh(tmp_path, text)
    assert found.result.status is Status.PASS, found.failed
    told = [line for verdict in found.result.verdicts for line in verdict.advice if "another order" in line]
    assert [line.partition(":")[0] for line in told] == [
        "the candidate's inputs stand in another order, right, left where the original has left, right",
        "the candidate's outputs stand in another order, other, logits where the original has logits, other",
    ]


def test_a_recipe_that_keeps_the_names_is_told_nothing(cases: Path) -> None:
    found = weigh(
        cases,
        "model: {onnx: two.onnx}\ndata: data.npz\nrecipe: [{quantize: static, engine: onnxruntime}]\n"
        "thresholds: {accuracy_drop: 0.1}\n",
    )
    assert found.result.status is Status.PASS, found.failed
    assert not [note for note in found.notes if OTHERWISE in note or "byte for byte" in note]


def test_answers_in_text_are_told_as_such(cases: Path) -> None:
    text = SHEET.replace("ORIGINAL", "one").replace("CANDIDATE", "text")
    failed = weigh(cases, f"{text}thresholds: {{accuracy_drop: 0.01, fidelity: 20}}\n").failed
    assert (
        "metric 'accuracy' needs numbers, and the first output holds text, such as ['" in failed["accuracy"]
    )
    assert "output 0 of the candidate holds text, and that of the baseline numbers" in failed["fidelity"]


def test_another_number_of_outputs_is_not_taken_for_a_detector(cases: Path) -> None:
    text = SHEET.replace("ORIGINAL", "two").replace("CANDIDATE", "one")
    failed = weigh(cases, f"{text}thresholds: {{fidelity: 20}}\n").failed
    assert failed["fidelity"].endswith("the baseline's (64, 4), (64, 4): 1 against 2 outputs")
