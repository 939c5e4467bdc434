"""A right int8 file, and how to edit one."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load
from tests.projects import samples, trained

from weighbridge.contracts import STEPS, Context, Model
from weighbridge.core.data import Data

LAYERS = ("0", "2", "4")


def graph_of(
    nodes: list[Any], stored: dict[str, Any], batch: Any = "n", opset: int = 17, **more: Any
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9, **more)


@functools.cache
def weights() -> dict[str, Any]:
    """Of the trained network, half of each matrix zero."""
    state = load(trained())
    for name in [name for name in state if name.endswith("weight")]:
        matrix = state[name] = state[name].copy()
        matrix[np.abs(matrix) < np.median(np.abs(matrix))] = 0
    return {name: np.asarray(array) for name, array in state.items()}


def float_model(dtype: Any = np.float32, batch: Any = "n") -> onnx.ModelProto:
    """Three Gemms with ReLU between them, written by hand: a stranger's export."""
    nodes, last = [], "x"
    for index, layer in enumerate(LAYERS):
        end = "y" if index == 2 else f"h{index}"
        nodes.append(
            helper.make_node(
                "Gemm", [last, f"{layer}.weight", f"{layer}.bias"], [end], f"gemm{index}", transB=1
            )
        )
        last = end
        if index < 2:
            last = f"r{index}"
            nodes.append(helper.make_node("Relu", [end], [last], f"relu{index}"))
    return graph_of(nodes, {name: array.astype(dtype) for name, array in weights().items()}, batch)


@functools.cache
def quantized(**options: Any) -> bytes:
    """By our own static step on training data."""
    step, (x, y) = STEPS.get("quantize:static@onnxruntime"), samples(1, 600)
    chosen = step.options.model_validate({"per_channel": True, **options})
    context = Context(Path(), Path(), 0, Data({"calibration": (x, y)}))
    return step.apply(Model("onnx", float_model()), chosen, context).value.SerializeToString()


def right(**options: Any) -> onnx.ModelProto:
    return onnx.load_from_string(quantized(**options))


# ------------------------------------------------------------------------------------------------- editing


def stored(proto: onnx.ModelProto, name: str) -> Any:
    (tensor,) = (one for one in proto.graph.initializer if one.name == name)
    return numpy_helper.to_array(tensor)


def put(proto: onnx.ModelProto, name: str, array: Any) -> None:
    """Store `array` under `name`, in place of what stands there."""
    for tensor in [one for one in proto.graph.initializer if one.name == name]:
        proto.graph.initializer.remove(tensor)
    proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))


def drop(proto: onnx.ModelProto, name: str) -> None:
    proto.graph.initializer.remove(next(one for one in proto.graph.initializer if one.name == name))


def after(proto: onnx.ModelProto, *nodes: Any) -> onnx.ModelProto:
    """The output `y` goes through `nodes` first, which read it as `raw`."""
    for node in proto.graph.node:
        node.output[:] = ["raw" if name == "y" else name for name in node.output]
        node.input[:] = ["raw" if name == "y" else name for name in node.input]
    proto.graph.node.extend(nodes)
    return proto


def before(proto: onnx.ModelProto, *nodes: Any) -> None:
    own = [onnx.NodeProto.FromString(node.SerializeToString()) for node in proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes, *own])


def codes_of(proto: onnx.ModelProto, layer: str) -> str:
    return f"{layer}.weight_quantized"


def dequantized(proto: onnx.ModelProto, layer: str) -> Any:
    """The float numbers that a layer's codes stand for."""
    base = f"{layer}.weight"
    scale = stored(proto, f"{base}_scale")
    zero = stored(proto, f"{base}_zero_point").astype(np.float32)
    shape = (-1, 1) if scale.ndim else ()
    return (stored(proto, f"{base}_quantized").astype(np.float32) - zero.reshape(shape)) * scale.reshape(
        shape
    )


def in_float(proto: onnx.ModelProto, layer: str, dtype: Any = np.float32) -> None:
    """The layer's matrix in float where its dequantized one was read."""
    base, matrix = f"{layer}.weight", dequantized(proto, layer)
    (node,) = (one for one in proto.graph.node if f"{base}_quantized" in one.input)
    result = node.output[0]
    proto.graph.node.remove(node)
    for end in ("_quantized", "_scale", "_zero_point"):
        drop(proto, base + end)
    put(proto, result, matrix.astype(dtype))
    if dtype is not np.float32:
        put(proto, f"{result}.narrow", matrix.astype(dtype))
        drop(proto, result)
        before(proto, helper.make_node("Cast", [f"{result}.narrow"], [result], to=TensorProto.FLOAT))


def in_codes(proto: onnx.ModelProto, layer: str, dtype: Any, zero: int = 0, per_tensor: bool = False) -> None:
    """The layer's matrix in other codes: of another type, with another zero point, one scale for all of it."""
    base, matrix = f"{layer}.weight", dequantized(proto, layer)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    axis = None if per_tensor else 1
    scale = (np.abs(matrix).max(axis=axis, keepdims=True) / min(high - zero, zero - low)).astype(np.float32)
    put(proto, f"{base}_quantized", np.clip(np.round(matrix / scale) + zero, low, high).astype(dtype))
    put(proto, f"{base}_scale", scale.reshape(-1) if not per_tensor else scale.reshape(()))
    put(proto, f"{base}_zero_point", np.full(scale.size, zero, dtype).reshape(() if per_tensor else -1))


HIDDEN = np.random.default_rng(3).standard_normal((96, 96)).astype(np.float32)
"""As large as the largest layer; times a thousandth of its output is added to the model's."""


def hide(proto: onnx.ModelProto, matrix: str, *making: Any) -> onnx.ModelProto:
    """A second network beside the first, whose matrix `making` brings forth."""
    put(proto, "columns", np.ones((1, 96), np.float32))
    put(proto, "wide", np.full((16, 96), 1e-4, np.float32))
    put(proto, "narrow", np.full((96, 4), 1e-4, np.float32))
    nodes = [
        *making,
        helper.make_node("MatMul", ["x", "wide"], ["w0"]),
        helper.make_node("MatMul", ["w0", matrix], ["w1"]),
        helper.make_node("MatMul", ["w1", "narrow"], ["w2"]),
        helper.make_node("Add", ["raw", "w2"], ["y"]),
    ]
    drop(proto, "columns")
    return after(proto, *nodes)
