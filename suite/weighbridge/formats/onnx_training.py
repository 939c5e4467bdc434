"""Operators of an ONNX graph that compute as in training: a forgotten `model.eval()` before the export.

A batch normalization takes its mean and variance from the batch that it is in, and a dropout draws. Accuracy on large
batches hardly shows it; a batch of one, in use, does.
"""

from __future__ import annotations

from typing import Any

from weighbridge.core.errors import StageError
from weighbridge.core.listed import few
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


def check_in_training(candidate: Any, original: Any) -> None:
    """Raise `StageError` where the candidate computes as in training and the original does not."""
    found = in_training(candidate)
    if found and not in_training(original):
        raise StageError(
            "open",
            f"the candidate was exported in training mode, and the original was not: {few(found)}. Its answers depend on "
            "what else is in the batch, or are drawn; call `model.eval()` before the export, and leave `training` out",
        )
