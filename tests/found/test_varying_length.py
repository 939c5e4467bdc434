"""Sequences of several lengths, as a loader that pads each batch for itself gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.projects import weigh

CODE = """
import numpy as np

LENGTHS = {"several": (5, 9, 5, 14, 7, 11), "equal": (5, 5, 5, 5, 5, 5), "two": (9, 5)}


def batches(seed, lengths):
    random = np.random.default_rng(seed)
    for length in LENGTHS[lengths]:
        y = random.integers(0, 2, 16)
        yield (random.normal(0, 1, (16, length, 8)) + (y[:, None, None] * 2 - 1) * 0.6).astype("float32"), y


class Loader:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __iter__(self):
        return batches(*self.arguments)


def loader(lengths="several"):
    return {"test": Loader(1, lengths), "calibration": Loader(2, lengths)}


def listed(lengths="several"):
    return {"test": list(batches(1, lengths)), "calibration": list(batches(2, lengths))}


def of_equal(): return loader("equal")
def of_two(): return listed("two")
def samples():
    return {split: [(x[i], y[i]) for x, y in rows for i in range(16)] for split, rows in listed().items()}
"""


def network() -> Any:
    """Whether the mean over time is positive: the first hidden number says yes, the second no."""
    random = np.random.default_rng(23)
    up, down = random.normal(0, 0.3, (8, 32)), random.normal(0, 0.02, (32, 2))
    up[:, 0], up[:, 1] = 1, -1
    down[0], down[1] = (0, 1), (1, 0)
    nodes = [
        helper.make_node("MatMul", ["x", "up"], ["a"], name="up"),
        helper.make_node("Relu", ["a"], ["b"], name="act"),
        helper.make_node("ReduceMean", ["b"], ["m"], name="over_time", axes=[1], keepdims=0),
        helper.make_node("MatMul", ["m", "down"], ["y"], name="down"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "t", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in (("up", up), ("down", down))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def outcome(folder: Path, data: str, step: str) -> Any:
    onnx.save(network(), folder / "net.onnx")
    (folder / "data.py").write_text(CODE)
    return weigh(
        folder,
        f"model: {{onnx: net.onnx}}\ndata: data.py:{data}\nrecipe: [{{{step}}}]\n"
        "thresholds: {accuracy_drop: 0.05, fidelity: 15}\n",
    )


@pytest.mark.parametrize("data", ["loader", "listed", "samples", "of_two", "of_equal"])
@pytest.mark.parametrize(
    "step", ["quantize: static, reduce_range: true", "quantize: dynamic, weights: uint8"]
)
def test_it_is_calibrated_and_measured(tmp_path: Path, data: str, step: str) -> None:
    found = outcome(tmp_path, data, step)
    assert not found.failed, (found.message, found.failed)
    accuracy, fidelity = found.measurements["accuracy"], found.measurements["fidelity"]
    assert accuracy.details["n"] == fidelity.details["samples"] == (32 if data == "of_two" else 96)
    assert accuracy.baseline > 0.9
    assert fidelity.candidate > 15


@pytest.mark.parametrize("method", ["entropy", "percentile", "mse"])
@pytest.mark.parametrize("data", ["loader", "of_equal"])
def test_every_method_takes_each_batch_by_itself(tmp_path: Path, data: str, method: str) -> None:
    found = outcome(tmp_path, data, f"quantize: static, reduce_range: true, calibration: {method}")
    assert not found.failed, (found.message, found.failed)
    assert found.measurements["fidelity"].candidate > 10, found.message
