"""An output whose batch is not its first axis, as of a text recognizer that gives [T, N, C]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.projects import weigh

METRIC = """
def same_text(outputs, targets):
    return (outputs.argmax(-1) == targets).mean(1)
same_text.higher_is_better = True
"""
CASE = "model: {onnx: net.onnx}\ndata: samples.npz\ntargets: y\nmetric: metric.py:same_text\n"
STATED = "batch: {'387': 1}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network of [N, T, 6] to [T, N, 5], and its own answers as targets."""
    random = np.random.default_rng(2)
    wide, last = (random.normal(0, 1, shape).astype("float32") for shape in ((6, 128), (128, 5)))
    nodes = [
        helper.make_node("MatMul", ["x", "wide"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["positive"]),
        helper.make_node("MatMul", ["positive", "last"], ["scores"]),
        helper.make_node("Transpose", ["scores"], ["387"], perm=[1, 0, 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 7, 6])],
        [helper.make_tensor_value_info("387", TensorProto.FLOAT, [7, "n", 5])],
        [numpy_helper.from_array(wide, "wide"), numpy_helper.from_array(last, "last")],
    )
    model: Any = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "net.onnx")
    x = random.normal(0, 1, (300, 7, 6)).astype("float32")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    y = session.run(None, {"x": x})[0].transpose(1, 0, 2).argmax(-1)
    np.savez(
        tmp_path / "samples.npz",
        test_x=x[:150],
        test_y=y[:150],
        calibration_x=x[150:],
        calibration_y=y[150:],
    )
    (tmp_path / "metric.py").write_text(METRIC)
    return tmp_path


@pytest.mark.parametrize("method", ["dynamic", "static", "auto"])
def test_the_metric_has_the_samples_first(folder: Path, method: str) -> None:
    text = f"recipe: [{{quantize: {method}, engine: onnxruntime}}]\nthresholds: {{accuracy_drop: 0.1}}\n"
    found = weigh(folder, CASE + STATED + text, also=()).result
    assert found.message == ""
    verdict = next(one for one in found.verdicts if one.threshold == "accuracy_drop")
    assert verdict.status == "pass", verdict.message
    assert found.measurements["accuracy"].baseline == 1


def test_where_nobody_says_so_the_error_says_how(folder: Path) -> None:
    text = "recipe: [{quantize: dynamic, engine: onnxruntime}]\nthresholds: {accuracy_drop: 0.1}\n"
    found = weigh(folder, CASE + text, also=()).result.verdicts
    verdict = next(one for one in found if one.threshold == "accuracy_drop")
    assert verdict.status == "error"
    assert "its first output has shape [7, 64, 5]" in verdict.message
    assert "where its batch is another axis, say `batch: {'387': 1}`" in verdict.message.replace('"', "'")
