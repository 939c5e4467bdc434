"""Operators of an ONNX graph that compute as in training: a forgotten `model.eval()` before the export."""

from __future__ import annotations

from typing import Any

from weighbridge.formats.onnx_weights import graphs


def in_training(model: Any) -> list[str]:
    """The nodes, by name, or by what they give where they have none."""
    return [
        f"{node.name or node.output[0]} ({node.op_type})"
        for graph in graphs(model)
        for node in graph.node
        if _trains(node, graph)
    ]


def _trains(node: Any, graph: Any) -> bool:
    from onnx import numpy_helper

    if node.op_type == "BatchNormalization":
        return any(each.name == "training_mode" and each.i for each in node.attribute)
    if node.op_type != "Dropout" or len(node.input) < 3:
        return False
    stored = {tensor.name: tensor for tensor in getattr(graph, "initializer", ())}
    stored |= {
        each.output[0]: each.attribute[0].t
        for each in graph.node
        if each.op_type == "Constant" and each.attribute[0].HasField("t")
    }
    return node.input[2] in stored and bool(numpy_helper.to_array(stored[node.input[2]]).any())
