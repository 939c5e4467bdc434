"""What a newcomer has: a folder with an ONNX file and an `.npz` of labelled samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load
from tests.projects import as_onnx, samples, trained


def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`model.onnx` and `samples.npz` (400 of them, no calibration split) in `folder`, which becomes the working directory."""
    (folder / "model.onnx").write_bytes(as_onnx(load(trained())))
    x, y = samples(2, 400)
    np.savez(folder / "samples.npz", x=x, y=y)
    monkeypatch.chdir(folder)
    return folder


def wide(path: Path, hidden: int) -> None:
    """A network of one hidden layer, [16, `hidden`] and [`hidden`, 4], untrained."""
    random = np.random.default_rng(0)
    weights = [random.standard_normal(shape).astype("float32") for shape in ((16, hidden), (hidden, 4))]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "0"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "1"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(array, str(index)) for index, array in enumerate(weights)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
