"""Small models for `weighbridge.strategies.models`: built from drawn numbers, weights from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from weighbridge.numerics.elements import Array

CLASSES = 3


def torch_model(
    *, convolution: bool, layers: Sequence[str], width: int, batch: int, seed: int
) -> tuple[Any, Array]:
    """An `nn.Sequential` in eval mode, and inputs of shape [batch, width] or [batch, 1, 6, 6]."""
    import torch

    from weighbridge.environment.quiet import quiet

    def tensor(array: Array) -> Any:
        return torch.nn.Parameter(torch.from_numpy(array))

    generator = np.random.default_rng(seed)
    x = _inputs(convolution, width, batch, generator)
    parts: list[torch.nn.Module] = []
    with quiet():  # torch warns of layers without elements
        if convolution:
            first = torch.nn.Conv2d(1, width, 3)
            first.weight = tensor(_weights(generator, (width, 1, 3, 3)))
            parts += [first, torch.nn.ReLU(), torch.nn.Flatten()]
        side = 16 * width if convolution else width
        for kind in [*layers, "head"]:
            if kind == "relu":
                parts.append(torch.nn.ReLU())
            elif kind == "norm":
                parts.append(torch.nn.LayerNorm(side))
            else:
                out = CLASSES if kind == "head" else width
                dense = torch.nn.Linear(side, out)
                dense.weight = tensor(_weights(generator, (out, side)))
                dense.bias = tensor(_weights(generator, (out,)))
                parts.append(dense)
                side = out
    return torch.nn.Sequential(*parts).eval(), x


def onnx_model(
    *, convolution: bool, layers: Sequence[str], width: int, batch: int, seed: int
) -> tuple[Any, Array]:
    """A `ModelProto` (opset 17, checked) from `x` to `y`, and inputs of shape [batch, width] or [batch, 1, 6, 6]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(seed)
    x = _inputs(convolution, width, batch, generator)
    nodes: list[Any] = []
    weights: list[Any] = []
    last = "x"

    def add(operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"t{len(nodes)}"
        nodes.append(
            helper.make_node(operator, list(inputs), [name], name=f"{operator}_{len(nodes)}", **attributes)
        )
        return name

    def weight(shape: tuple[int, ...], positive: bool = False) -> str:
        values = _weights(generator, shape)
        name = f"w{len(weights)}"
        weights.append(numpy_helper.from_array(np.abs(values) if positive else values, name))
        return name

    if convolution:
        last = add("Relu", [add("Conv", [last, weight((width, 1, 3, 3))])])
        last = add("Flatten", [last])
    side = 16 * width if convolution else width
    for kind in [*layers, "head"]:
        if kind == "relu":
            last = add("Relu", [last])
        elif kind == "norm":
            last = add("LayerNormalization", [last, weight((side,), positive=True)])
        else:
            out = CLASSES if kind == "head" else width
            last = add("Gemm", [last, weight((out, side)), weight((out,))], transB=1)
            side = out
    nodes[-1].output[0] = "y"
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *x.shape[1:]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model, x


def _inputs(convolution: bool, width: int, batch: int, generator: np.random.Generator) -> Array:
    shape = (batch, 1, 6, 6) if convolution else (batch, width)
    return generator.normal(size=shape).astype(np.float32)


def _weights(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal, with a channel of zeros or an outlier now and then."""
    values = generator.normal(size=shape)
    kind = generator.integers(4)
    if kind == 0:
        values[0] = 0
    elif kind == 1:
        values.flat[0] *= 100
    return values.astype(np.float32)
