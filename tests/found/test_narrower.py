"""A candidate that takes or gives less than its original, on samples and by a metric that do not show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.projects import weigh

TIMES = 8


def network(times: int | str = "t", second: str | None = "Tanh", **scale: float) -> Any:
    """Features of a sequence, averaged; classes, and what `second` makes of them as another output."""
    weight = np.random.default_rng(3).normal(0, 1, (5, 4)).astype("float32")
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["y"]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])]
    if second:
        nodes.append(helper.make_node(second, ["y"], ["e"], **scale))
        outputs.append(helper.make_tensor_value_info("e", TensorProto.FLOAT, ["n", 4]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", times, 5])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


def remarks(folder: Path, original: Any, candidate: Any) -> list[str]:
    x = np.random.default_rng(1).normal(0, 1, (200, TIMES, 5)).astype("float32")
    weight = numpy_helper.to_array(original.graph.initializer[0])
    np.savez(folder / "samples.npz", x=x, y=(x.mean(1) @ weight).argmax(1))
    onnx.save(original, folder / "original.onnx")
    onnx.save(candidate, folder / "candidate.onnx")
    text = "model: {onnx: original.onnx}\ncandidate: {onnx: candidate.onnx}\ndata: samples.npz\n"
    (verdict,) = weigh(folder, f"{text}thresholds: {{accuracy_drop: 0.1}}\n", also=()).result.verdicts
    assert verdict.status == "pass"
    return [line for line in verdict.advice if "the original's" in line]


@pytest.mark.parametrize(
    ("candidate", "told"),
    [
        (network(TIMES), "input x is [n, 8, 5], the original's [n, t, 5]: it takes no other size"),
        (network(second=None), "gives 1 of the original's 2 outputs"),
        (network(second="Neg"), "output e of the candidate has nothing of the original's"),
    ],
)
def test_what_is_lost_is_told_though_the_limit_is_held(tmp_path: Path, candidate: Any, told: str) -> None:
    (said,) = remarks(tmp_path, network(), candidate)
    assert told in said


@pytest.mark.parametrize(
    ("original", "candidate"),
    [
        (network(TIMES), network(TIMES)),
        (network(TIMES), network()),
        (network(second=None), network()),
        (network(), network("s")),
        (network(), network(second="Elu", alpha=0.5)),
    ],
)
def test_what_takes_and_gives_as_much_is_left_alone(tmp_path: Path, original: Any, candidate: Any) -> None:
    """An axis that was fixed before, one that is free now, an output more, an axis by another name, an output much like it."""
    assert remarks(tmp_path, original, candidate) == []
