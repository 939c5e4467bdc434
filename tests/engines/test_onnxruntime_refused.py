"""What ONNX Runtime does not take says what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from weighbridge.core.errors import StageError
from weighbridge.engines.onnxruntime import OnnxRuntimeSession


def _saved(
    path: Path, nodes: list[onnx.NodeProto], inputs: Mapping[str, int], outputs: Mapping[str, int], kind: int
) -> str:
    """A model whose inputs and outputs have [n, width]."""
    ports = [
        [helper.make_tensor_value_info(name, kind, ["n", width]) for name, width in side.items()]
        for side in (inputs, outputs)
    ]
    weight = numpy_helper.from_array(
        np.ones((3, 3), ml_dtypes.bfloat16 if kind == TensorProto.BFLOAT16 else np.float32), "w"
    )
    graph = helper.make_graph(nodes, "net", *ports, [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return str(path)


def test_bfloat16_runs_on_no_cpu(tmp_path: Path) -> None:
    gemm = [helper.make_node("Gemm", ["x", "w"], ["y"])]
    path = _saved(tmp_path / "m.onnx", gemm, {"x": 3}, {"y": 3}, TensorProto.BFLOAT16)
    with pytest.raises(StageError, match=r"as of bfloat16 on a CPU: export it in float32"):
        OnnxRuntimeSession(path)


@pytest.mark.parametrize("gives_it_back", [True, False])
def test_an_input_that_is_missing_may_be_state(tmp_path: Path, gives_it_back: bool) -> None:
    """Where the model has an output to spare for it; a second input that the data forgot is none."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Add", ["y", "h"], ["next"])]
    outputs = {"y": 3, "next": 3} if gives_it_back else {"next": 3}
    session = OnnxRuntimeSession(
        _saved(tmp_path / "m.onnx", nodes, {"x": 3, "h": 3}, outputs, TensorProto.FLOAT)
    )
    with pytest.raises(StageError, match=r"input 'h' .* is missing") as error:
        session.run({"x": np.ones((2, 3), np.float32)})
    assert ("say `sequence: true`" in str(error.value)) is gives_it_back
