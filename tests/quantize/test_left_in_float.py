"""A layer that `exclude` names is in float where the model is served, not only in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from weighbridge.contracts import STEPS, Context, Model
from weighbridge.core.data import Data

ort = pytest.importorskip("onnxruntime")
SIDE = 16


def three(kind: str) -> Any:
    """Three layers with ReLU after each. The one in the middle has a weight that no scale of 8 bits holds beside the rest; it
    meets a channel with next to nothing in it, so that the others make the answer."""
    random = np.random.default_rng(0)
    shape = [SIDE] if kind == "Gemm" else [SIDE, 6, 6]
    options: dict[str, Any] = {"transB": 1} if kind == "Gemm" else {"pads": [1, 1, 1, 1]}
    nodes, tensors, last = [], [], "x"
    for number in range(3):
        weight = random.normal(0, 0.2, (SIDE, SIDE) if kind == "Gemm" else (SIDE, SIDE, 3, 3)).astype(
            np.float32
        )
        bias = random.normal(0, 0.1, SIDE).astype(np.float32)
        if number == 0:
            (weight[:, 0] if kind == "ConvTranspose" else weight[0])[:] *= 1e-4
            bias[0] = 0
        if number == 1:
            weight.reshape(-1)[0] = 300
        tensors += [
            numpy_helper.from_array(weight, f"w{number}"),
            numpy_helper.from_array(bias, f"b{number}"),
        ]
        nodes += [
            helper.make_node(
                kind, [last, f"w{number}", f"b{number}"], [f"h{number}"], f"layer{number}", **options
            ),
            helper.make_node("Relu", [f"h{number}"], [f"r{number}"], f"relu{number}"),
        ]
        last = f"r{number}"
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape]) for name in ("x", last)]
    graph = helper.make_graph(nodes, "three", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def decibels(reference: Any, found: Any) -> float:
    return float(10 * np.log10(np.square(reference).sum() / np.square(reference - found).sum()))


def answers(proto: Any, x: Any, level: Any) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("Gemm", "qdq"),
        ("Conv", "qdq"),
        ("ConvTranspose", "qdq"),
        ("Gemm", "qoperator"),
        ("Conv", "qoperator"),
    ],
)
def test_the_optimizer_does_not_quantize_it_again(tmp_path: Path, kind: str, form: str) -> None:
    proto = three(kind)
    x = (
        np.random.default_rng(1)
        .normal(size=(64, SIDE) if kind == "Gemm" else (64, SIDE, 6, 6))
        .astype(np.float32)
    )
    step = STEPS.get("quantize:static@onnxruntime")
    context = Context(tmp_path, tmp_path, 0, Data({"calibration": (x, None)}))

    def quantized(**options: Any) -> Any:
        return step.apply(
            Model("onnx", proto), step.options.model_validate({**options, "form": form}), context
        ).value

    none, all_ = ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    reference = answers(proto, x, none)
    kept = quantized(exclude=["layer1"], per_channel=False)
    as_written, as_served = (decibels(reference, answers(kept, x, level)) for level in (none, all_))
    assert as_served > as_written - 0.5
    assert as_served > decibels(reference, answers(quantized(per_channel=False), x, all_)) + 3
    onnx.checker.check_model(kept)


@pytest.mark.parametrize("pattern", ["features.3", "features.3.weight", "features.*"])
def test_a_convolution_goes_by_its_name_from_before_its_normalization_was_folded_in(
    tmp_path: Path, pattern: str
) -> None:
    """ONNX Runtime renames the weight then, and `exclude` fitted nothing."""
    random = np.random.default_rng(0)
    values = {"scale": 1.5, "bias": 0.1, "mean": 0.2, "var": 2.0}
    nodes = [
        helper.make_node("Conv", ["x", "features.3.weight"], ["c"], name="Conv_7", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", *values], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("Conv", ["r", "last.weight"], ["y"], name="Conv_9", pads=[1, 1, 1, 1]),
    ]
    shape = ["n", SIDE, 6, 6]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [
            *(
                numpy_helper.from_array(np.full(SIDE, value, np.float32), name)
                for name, value in values.items()
            ),
            *(
                numpy_helper.from_array(random.normal(0, 0.2, (SIDE, SIDE, 3, 3)).astype(np.float32), name)
                for name in ("features.3.weight", "last.weight")
            ),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    x = random.standard_normal((32, SIDE, 6, 6)).astype(np.float32)
    step = STEPS.get("quantize:static@onnxruntime")
    options = step.options(exclude=[pattern], float_share=0)
    context = Context(tmp_path, tmp_path, 0, Data(splits={"calibration": (x, None)}))
    made = step.apply(Model("onnx", model), options, context)
    assert made.coverage is not None
    became = {layer.name: layer.converted for layer in made.coverage.layers}
    assert became == {"features.3": False, "last": True}
