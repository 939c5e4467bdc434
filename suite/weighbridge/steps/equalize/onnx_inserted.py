"""A Mul of its own in front of dense layers whose input takes no scale: one number a channel that the rounding behind it sees.

A normalization that is added to something too, a GELU and what attention mixes give no scale a place. A multiplication by a
vector costs next to nothing beside the product that reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from weighbridge.formats.onnx_operators import integer
from weighbridge.steps.equalize.onnx_pairs import owner
from weighbridge.steps.onnx_edits import free_name, names, reread, set_nodes


def insert_scales(proto: Any, left: Collection[str]) -> dict[str, str]:
    """Put a Mul by ones before each MatMul and Gemm of a layer in `left`, one for all that read the same value, in place.

    Gives the value that each of them stands behind, by the name of what it gives.
    """
    import numpy as np
    import onnx

    stored = {tensor.name: tensor.dims for tensor in proto.graph.initializer}
    taken = names(proto)
    instead: dict[str, str] = {}
    nodes = []
    for node in proto.graph.node:
        weight = node.input[1] if node.op_type in ("MatMul", "Gemm") else ""
        dims = stored.get(weight, ())
        if len(dims) == 2 and owner(weight) in left and not integer(node, "transA", 0):
            value = node.input[0]
            if value not in instead:
                vector, scaled = (free_name(f"{value}_{what}", taken) for what in ("scale", "scaled"))
                ones = np.ones(dims[1 if integer(node, "transB", 0) else 0], np.float32)
                proto.graph.initializer.append(onnx.numpy_helper.from_array(ones, vector))
                nodes.append(onnx.helper.make_node("Mul", [value, vector], [scaled], scaled))
                instead[value] = scaled
            node.input[0] = instead[value]
        nodes.append(node)
    set_nodes(proto.graph, nodes)
    return {scaled: value for value, scaled in instead.items()}


def take_out(proto: Any, inserted: Mapping[str, str]) -> None:
    """Let the readers of these inserted values read what they did, in place. Their vectors are left without a reader."""
    set_nodes(proto.graph, [node for node in proto.graph.node if inserted.keys().isdisjoint(node.output)])
    reread(proto.graph.node, inserted)
