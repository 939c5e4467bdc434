"""Candidates that were made to pass though they are ruined, or cannot be opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tests.projects import weigh, write_samples

from weighbridge.cli.main import main
from weighbridge.core.results import Status


def two_outputs(boxes: float = 1.0, scores: float = 1.0, operator: str = "MatMul") -> Any:
    """Boxes in pixels, a thousand times as large as the scores beside them; each output times a factor."""
    random = np.random.default_rng(4)
    weights = {
        "to_boxes": 1000 * boxes * random.normal(0, 1, (16, 4)),
        "to_scores": scores * random.normal(0, 1, (16, 3)),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "to_boxes"], ["boxes"]),
        helper.make_node(operator, ["x", "to_scores"], ["scores"]),
    ]
    ports = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("x", 16), ("boxes", 4), ("scores", 3))
    }
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", [ports["x"]], [ports["boxes"], ports["scores"]], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


@pytest.mark.parametrize(
    ("boxes", "scores", "status"),
    [
        (1.001, 0.0, Status.FAIL),
        (0.0, 1.001, Status.FAIL),
        (1.001, 1.001, Status.PASS),
    ],
)
def test_an_output_of_zeros_is_not_hidden_by_a_larger_one(
    tmp_path: Path, boxes: float, scores: float, status: Status
) -> None:
    onnx.save(two_outputs(), tmp_path / "whole.onnx")
    onnx.save(two_outputs(boxes, scores), tmp_path / "candidate.onnx")
    data = write_samples(tmp_path, {"x": [16]})
    found = weigh(
        tmp_path,
        f"model: {{onnx: whole.onnx}}\ncandidate: {{onnx: candidate.onnx}}\n{data}thresholds: {{fidelity: 20}}\n",
    )
    assert found.result.status is status, found.message


@pytest.mark.parametrize(("operator", "code"), [("NoSuchOperator", 2), ("MatMul", 0)])
def test_a_file_that_no_engine_opens_is_within_no_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operator: str, code: int
) -> None:
    onnx.save(two_outputs(operator=operator), tmp_path / "net.onnx")
    (tmp_path / "budget.yaml").write_text("thresholds: {size: 5 MB, parameters: 1.5 m}\n")
    monkeypatch.chdir(tmp_path)
    assert main(["audit", "net.onnx", "--budget", "budget.yaml"]) == code


TWO_OF_ONE_FILE = """
import torch


class Net(torch.nn.Module):
    def __init__(self, turned):
        super().__init__()
        torch.manual_seed(0)
        self.dense = torch.nn.Linear(16, 4)
        self.turned = turned

    def forward(self, x):
        return self.dense(x).abs() if self.turned else self.dense(x)


def plain():
    return Net(turned=False)


def turned():
    return Net(turned=True)
"""


@pytest.mark.parametrize(
    "step", ["{prune: l1_unstructured, amount: 0.1}", "{quantize: dynamic, engine: onnxruntime}"]
)
def test_two_callables_of_one_file_are_two_models(tmp_path: Path, step: str) -> None:
    """Their weights, their layers and their code are the same, so that the second passed with what the first had made."""
    (tmp_path / "model.py").write_text(TWO_OF_ONE_FILE)
    torch.manual_seed(0)
    dense = torch.nn.Linear(16, 4)
    x = np.random.default_rng(0).standard_normal((128, 16)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", x=x, y=dense(torch.from_numpy(x)).argmax(1).numpy())
    found = {
        name: weigh(
            tmp_path,
            f"model: {{torch: 'model.py:{name}'}}\ndata: samples.npz\nmetric: accuracy\nrecipe: [{step}]\n"
            "thresholds: {accuracy: 0.8}\n",
            also=(),
        )
        for name in ("plain", "turned")
    }
    assert {name: weighed.result.status for name, weighed in found.items()} == {
        "plain": Status.PASS,
        "turned": Status.FAIL,
    }, found["turned"].message
