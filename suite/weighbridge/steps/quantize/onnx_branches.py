"""What a branch reads of a quantized model stands apart from what ONNX Runtime's optimizer moves.

It moves a DequantizeLinear on behind nodes that leave numbers as they are (QDQPropagation, `core/optimizer/qdq_transformer`,
seen in 1.31), and ends the process where a body of If, Loop or Scan is among the readers.
"""

from __future__ import annotations

from typing import Any

from weighbridge.steps.onnx_edits import bodies, free_name, names, read_inside, reread, set_nodes

_PASSED = ("Flatten", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
"""The nodes that a DequantizeLinear may be moved behind."""


def set_branches_apart(model: Any) -> None:
    """Let bodies read the Max of one tensor, which the optimizer leaves where it is, in place."""
    import onnx

    read = read_inside(model)
    taken = names(model)
    moved: set[str] = set()
    apart: dict[str, str] = {}
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type == "DequantizeLinear" or (node.op_type in _PASSED and node.input[0] in moved):
            moved.update(node.output)
            for name in read.intersection(node.output):
                apart[name] = free_name(f"{name}_branch", taken)
                nodes.append(onnx.helper.make_node("Max", [name], [apart[name]], name=apart[name]))
    if not apart:
        return
    set_nodes(model.graph, nodes)
    for body in bodies(model):
        reread(body.node, apart)
        for value in body.output:
            value.name = apart.get(value.name, value.name)
