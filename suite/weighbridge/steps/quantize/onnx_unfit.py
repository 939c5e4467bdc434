"""Nodes that ONNX Runtime's quantizers would get wrong, by name, each with the reason for which it stays in float."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weighbridge.steps.onnx_edits import read_inside
from weighbridge.steps.quantize.onnx_wiring import FUSED

_BOUNDED = ("Softmax", "LogSoftmax", "Sigmoid", "Tanh", "Clip", "Max", "Hardmax", "ArgMax", "IsInf")
"""What gives finite numbers of infinite ones; an infinity that goes on behind another operator goes on to its readers."""


def infinite(model: Any) -> dict[str, str]:
    """What reads or passes on a number that is not finite, from the graph's constants on: a mask, and what it is added to.

    ONNX Runtime makes a scale of infinity of it, and every answer zero.
    """
    reached = {name for name, array in _constants(model) if _is_infinite(array)}
    found = {}
    for node in model.graph.node:
        if not reached.isdisjoint(node.input):
            found[node.name] = "infinity reaches it from a constant, and no scale holds that"
            if node.op_type not in _BOUNDED:
                reached.update(node.output)
    return found


def stacked(model: Any) -> dict[str, str]:
    """Products with a stack of matrices: ONNX Runtime loads them with a scale a channel, and fails when they are run."""
    stacks = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 2}
    reason = (
        "a stack of matrices has no integer kernel with a scale a channel; `per_channel: false` quantizes it"
    )
    return {
        node.name: reason
        for node in model.graph.node
        if node.op_type == "MatMul" and not stacks.isdisjoint(node.input)
    }


def signed(model: Any) -> dict[str, str]:
    """Convolutions: with a scale a channel, ONNX Runtime's quantizer gives QLinearConv int8 weights, whatever is asked."""
    reason = (
        "QLinearConv with a scale a channel gets int8 weights only; `weights: int8` or `per_channel: false` "
        "quantizes it"
    )
    return {node.name: reason for node in model.graph.node if node.op_type == "Conv"}


def watched(model: Any) -> dict[str, str]:
    """Activations whose input is an output of the model too, or read by a body of control flow.

    ONNX Runtime sees neither: it cuts that input off at the activation's range, and renames it.
    """
    seen = {value.name for value in model.graph.output} | read_inside(model)
    return {
        node.name: "what it reads is wanted as it is elsewhere"
        for node in model.graph.node
        if node.op_type in FUSED and node.input[0] in seen
    }


def clipped(model: Any) -> dict[str, str]:
    """Clips between bounds that are not known to have zero between them.

    ONNX Runtime replaces a Clip by the range of its output, which it widens to zero: a logarithm behind one gets zeros.
    """
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}

    def holds(node: Any) -> bool:
        given = {name: each.f for each in node.attribute if (name := each.name) in ("min", "max")}
        for side, name in zip(("min", "max"), node.input[1:], strict=False):
            if name and name not in stored:
                return False
            if name:
                given[side] = float(numpy_helper.to_array(stored[name]).item())
        return bool(given.get("min", 0.0) <= 0 <= given.get("max", 0.0))

    return {
        node.name: "zero is not between its bounds"
        for node in model.graph.node
        if node.op_type == "Clip" and not holds(node)
    }


def _constants(model: Any) -> Iterator[tuple[str, Any]]:
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                yield node.output[0], numpy_helper.to_array(attribute.t)


def _is_infinite(array: Any) -> bool:
    """Whether it holds an infinity, or the lowest number of its type, which masks have for one."""
    import numpy as np

    if array.dtype.kind != "f" or not array.size:
        return False
    return not bool(np.abs(array).max() < np.finfo(array.dtype).max / 2)
