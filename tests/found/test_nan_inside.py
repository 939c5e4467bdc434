"""NaN that a model makes of padding and drops again before its output is no fault of anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.projects import weigh

NODES = [
    (("x", "w1"), "a0", "MatMul"),
    (("a0", "keep"), "a1", "Mul"),
    (("a1", "keep"), "a", "Div"),
    (("a", "w2"), "c", "MatMul"),
    (("keep", "zero"), "real", "Greater"),
    (("real", "c", "zero"), "y", "Where"),
]


def network() -> Any:
    random = np.random.default_rng(89)
    weights = {
        "w1": random.normal(0, 0.3, (12, 48)),
        "w2": random.normal(0, 0.3, (48, 6)),
        "zero": np.array(0.0),
    }
    graph = helper.make_graph(
        [helper.make_node(kind, list(names), [output], name=output) for names, output, kind in NODES],
        "g",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4, last])
            for name, last in (("x", 12), ("keep", 1))
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 6])],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


@pytest.mark.parametrize(
    ("step", "passes"),
    [("quantize: static, reduce_range: true", True), ("quantize: dynamic, weights: uint8", False)],
)
def test_what_comes_out_is_what_counts(tmp_path: Path, step: str, passes: bool) -> None:
    """The dynamic scale of a tensor with NaN is NaN, and every output with it; the static one was calibrated."""
    onnx.save(network(), tmp_path / "net.onnx")
    random = np.random.default_rng(1)
    x = random.normal(0, 1, (64, 4, 12)).astype(np.float32)
    keep = (np.arange(4)[None, :, None] < random.integers(1, 5, (64, 1, 1))).astype(np.float32)
    np.savez(tmp_path / "samples.npz", test_x=x, test_keep=keep, calibration_x=x, calibration_keep=keep)
    case = (
        f"model: {{onnx: net.onnx}}\ndata: samples.npz\nrecipe: [{{{step}}}]\nthresholds: {{fidelity: 10}}\n"
    )
    fidelity = weigh(tmp_path, case).measurements["fidelity"]
    assert (fidelity.candidate > 10) is passes
