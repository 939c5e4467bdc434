"""Small ONNX models with a known amount of work."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from weighbridge.core.results import Artifact


def write_mlp(path: Path, width: int, layers: int = 2, batch: str | int = "n") -> Artifact:
    """An MLP of `layers` products of [width, width], without activations; of one batch, or of any."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.full((width, width), 1 / width, "float32"), "w")
    names = ["x", *(f"h{i}" for i in range(layers))]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in pairwise(names)]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "mlp",
        [value("x", TensorProto.FLOAT, [batch, width])],
        [value(names[-1], TensorProto.FLOAT, [batch, width])],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return Artifact("onnx", path, (path,))
