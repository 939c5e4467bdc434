"""Inputs and outputs of an ONNX graph in float16, and the Casts behind and in front of them."""

from __future__ import annotations

from typing import Any

from weighbridge.steps.onnx_edits import free_name, names, set_nodes


def halve_ports(proto: Any) -> None:
    """Inputs and outputs become float16, with a Cast behind and in front of them; a stored output stays as it is."""
    import onnx

    graph = proto.graph
    half, float32 = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    stored = {tensor.name for tensor in graph.initializer}
    taken = names(proto)
    nodes = list(graph.node)
    for value in graph.input:
        if value.name not in stored and value.type.tensor_type.elem_type == float32:
            inner = free_name(f"{value.name}_float", taken)
            _rename(graph, value.name, inner, made=False)
            nodes.insert(0, cast_to(value.name, inner, float32))
            value.type.tensor_type.elem_type = half
    passed = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    for value in graph.output:
        if value.name in passed:
            value.type.tensor_type.elem_type = passed[value.name]
        elif value.name not in stored and value.type.tensor_type.elem_type == float32:
            inner = free_name(f"{value.name}_float", taken)
            _rename(graph, value.name, inner, made=True)
            nodes.append(cast_to(inner, value.name, half))
            value.type.tensor_type.elem_type = half
    set_nodes(graph, nodes)


def _rename(graph: Any, name: str, other: str, made: bool) -> None:
    """Whoever reads `name` reads `other`; with `made`, whoever makes it makes that."""
    for node in graph.node:
        for field_ in (node.input, node.output) if made else (node.input,):
            for position, each in enumerate(field_):
                if each == name:
                    field_[position] = other
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, name, other, made=False)


def cast_to(source: str, target: str, to: int) -> Any:
    import onnx

    return onnx.helper.make_node("Cast", [source], [target], name=f"{target}_cast", to=to)
