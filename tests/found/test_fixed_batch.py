"""A model exported at a fixed batch is run slice by slice, and timed on the same samples as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.found.text_model import network, texts

from weighbridge.core.errors import StageError
from weighbridge.engines.onnxruntime import OnnxRuntimeSession


def session(folder: Path, batch: int | str) -> OnnxRuntimeSession:
    onnx.save(network(batch=batch), folder / f"{batch}.onnx")
    return OnnxRuntimeSession(str(folder / f"{batch}.onnx"))


@pytest.mark.parametrize(("batch", "calls"), [(1, 50), (8, 7), (50, 1), (64, 1), ("n", 1)])
def test_every_sample_is_run_and_timed(tmp_path: Path, batch: int | str, calls: int) -> None:
    ids, mask, _ = texts(50)
    opened, free = session(tmp_path, batch), session(tmp_path, "n")
    np.testing.assert_allclose(opened.run((ids, mask))[0], free.run((ids, mask))[0], rtol=1e-5)
    assert len(opened.feeds((ids, mask))) == calls
    done = opened.bind((ids, mask))()
    assert len(done) == (calls if calls > 1 else len(free.run((ids, mask))))


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        (
            [7, 4],
            "say that none has a batch, `batch: {x: null, boxes: null}`, and give samples by name with all axes",
        ),
        ([7, 1, 4], "name the axis in the case: `batch: {boxes: 1}`, or null"),
    ],
)
def test_an_output_without_the_batch_in_front_says_what_to_write(
    tmp_path: Path, shape: list[int], advice: str
) -> None:
    """Axis 1 of boxes [7, 4] are their corners: to name it helped nobody."""
    value = numpy_helper.from_array(np.ones(shape, np.float32), "const")
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
            helper.make_node("Mul", ["s", "const"], ["boxes"]),
        ],
        "detector",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, shape)],
        [value],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
        tmp_path / "d.onnx",
    )
    with pytest.raises(StageError) as error:
        OnnxRuntimeSession(str(tmp_path / "d.onnx")).run((np.ones((5, 3), np.float32),))
    assert advice in str(error.value)
