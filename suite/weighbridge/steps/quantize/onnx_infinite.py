"""Operators through which infinity goes: no scale holds it, so a mask of minus infinity and what it is added to stay in float.

ONNX Runtime's quantizer makes a scale of infinity of it, and every answer zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_BOUNDED = ("Softmax", "LogSoftmax", "Sigmoid", "Tanh", "Clip", "Max", "Hardmax", "ArgMax", "IsInf")
"""What gives finite numbers of infinite ones; an infinity that goes on behind another operator goes on to its readers."""


def infinite(model: Any) -> list[str]:
    """The names of the nodes that read or pass on a number that is not finite, from the graph's constants on."""
    reached = {name for name, array in _constants(model) if _is_infinite(array)}
    found = []
    for node in model.graph.node:
        if not reached.isdisjoint(node.input):
            found.append(node.name)
            if node.op_type not in _BOUNDED:
                reached.update(node.output)
    return found


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
