"""ONNX graphs for tests, quantized, and what came of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from weighbridge.contracts import FORMATS, Context, Model, Promise
from weighbridge.core.data import Data
from weighbridge.engines.onnxruntime import OnnxRuntimeSession
from weighbridge.formats.onnx_weights import graphs
from weighbridge.numerics.round_trip import read_back
from weighbridge.steps.quantize.onnx_dynamic import DynamicOptions, dynamic
from weighbridge.steps.quantize.onnx_static import StaticOptions, static

_drawn: dict[str, np.random.Generator] = {}


def weight(*shape: int) -> Any:
    """The next one of the test that asks: the same whatever ran before it, as pytest's workers deal tests by chance."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    random = _drawn.setdefault(test, np.random.default_rng(7))
    return (random.standard_normal(shape) * 0.2).astype(np.float32)


def model(
    nodes: list[Any], weights: dict[str, Any], x: list[Any], outputs: tuple[str, ...] = ("y",)
) -> Model:
    """A graph of one input `x` at opset 17; the outputs' shapes are left open."""
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(
        nodes,
        "found",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        stored,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return Model("onnx", made)


def node(kind: str, inputs: str, output: str, name: str = "", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], name=name, **attributes)


def samples(float_model: Model, n: int = 64) -> Any:
    axes = float_model.value.graph.input[0].type.tensor_type.shape.dim
    shape = [axis.dim_value for axis in axes[1:]]
    return np.random.default_rng(1).standard_normal((n, *shape)).astype(np.float32)


def quantize(folder: Path, made: Model, mode: str, **options: Any) -> Model:
    """7-bit weights where nothing else is asked: without VNNI, ONNX Runtime's 8-bit sums saturate."""
    context = Context(folder, folder, 0, Data(splits={"calibration": (samples(made), np.zeros(64))}))
    options = {"reduce_range": True, **options}
    if mode == "dynamic":
        return dynamic(made, DynamicOptions.model_validate({"weights": "uint8", **options}), context)
    return static(made, StaticOptions.model_validate(options), context)


def answers(made: Model, x: Any) -> Any:
    """The first output."""
    return OnnxRuntimeSession(made.value.SerializeToString()).run((x,))[0]


def decibel(before: Model, after: Model) -> float:
    """The signal to noise ratio of the quantized model's first output on samples."""
    wanted, got = (answers(each, samples(before)) for each in (before, after))
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()))


def quantized(after: Model) -> dict[str, bool]:
    """Layer -> whether the step says that it converted it."""
    assert after.coverage is not None
    return {layer.name: layer.converted for layer in after.coverage.layers}


def stored(after: Model) -> dict[str, Any]:
    """The matrices and filters of the artifact, by name."""
    return {tensor.name: tensor for tensor in FORMATS.get("onnx").tensors(after) if tensor.array.ndim >= 2}


def arrays(made: Model) -> dict[str, Any]:
    """What the main graph stores, by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in made.value.graph.initializer}


def kinds(made: Model) -> Counter[str]:
    """How many operators there are of each type, in bodies too."""
    return Counter(each.op_type for graph in graphs(made.value) for each in graph.node)


def findings(before: Model, after: Model, promise: Promise) -> Sequence[Any]:
    """What the round trip has against an artifact of which `promise` was given."""
    tensors = FORMATS.get("onnx").tensors
    floats = {tensor.name: tensor for tensor in tensors(before)}
    layouts = {name: tensor.use.layout for name, tensor in floats.items()}
    numbers = {name: tensor.array for name, tensor in floats.items()}
    return read_back(tensors(after), numbers, promise, layouts=layouts).findings


def products(inputs: int, outputs: int) -> Model:
    """Three dense layers, one of them a Gemm that reads its weight transposed and has a bias."""
    nodes = [
        node("MatMul", "x first", "a", "first"),
        node("Relu", "a", "b"),
        node("Gemm", "b second bias", "c", "second", transB=1),
        node("Tanh", "c", "d"),
        node("MatMul", "d third", "y", "third"),
    ]
    weights = {
        "first": weight(inputs, 96),
        "second": weight(48, 96),
        "bias": weight(48),
        "third": weight(48, outputs),
    }
    return model(nodes, weights, ["n", inputs])


BOTH = pytest.mark.parametrize("mode", ["static", "dynamic"])
