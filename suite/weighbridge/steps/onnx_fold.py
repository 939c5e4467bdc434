"""Constant folding: weights behind Constant, Transpose, Identity, Slice, Concat and the like become initializers."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from weighbridge.steps.onnx_edits import bodies, drop_unused, keep_names, remove, reread, set_nodes

if TYPE_CHECKING:
    from weighbridge.contracts import Array

_NOT_FOLDED = (
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial",
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear",
)  # fmt: skip
_MOVES = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast")
"""What leaves a weight's numbers as they are."""
_ROOM = 1024
"""Bytes that a folded tensor may be larger than twice its inputs: shapes may be folded, a table not be expanded."""


def constants_to_initializers(model: Any) -> None:
    """The tensors of the main graph's Constant nodes become initializers, and initializers are no inputs."""
    graph = model.graph
    kept = []
    for node in graph.node:
        tensor = constant_tensor(node) if node.op_type == "Constant" else None
        if tensor is None:
            kept.append(node)
            continue
        initializer = graph.initializer.add()
        initializer.CopyFrom(tensor)
        initializer.name = node.output[0]
    set_nodes(graph, kept)
    stored = {tensor.name for tensor in graph.initializer}
    remove(graph.input, lambda value: value.name in stored)  # up to IR version 3 each had to be listed there


def constant_tensor(node: Any) -> Any:
    """The tensor of a Constant node; None where it holds strings, or a sparse tensor."""
    import numpy as np
    import onnx

    (attribute,) = node.attribute
    if attribute.name == "value":
        return attribute.t
    dtype = {"value_float": "f4", "value_floats": "f4", "value_int": "i8", "value_ints": "i8"}.get(
        attribute.name
    )
    if dtype is None:
        return None
    return onnx.numpy_helper.from_array(np.array(onnx.helper.get_attribute_value(attribute), dtype))


def fold(model: Any) -> dict[str, str]:
    """Compute what depends on initializers only: Transpose, Identity, Slice, Concat, Reshape, Cast of a weight, and the like.

    Returns, for each new weight that came from one stored weight, the name that this had. Where it is the only one, it
    keeps that name, unless it would be taken for that weight: the round trip compares tensors of one name and shape, and
    rows in another order, or times a gain, are other numbers. A node that cannot be computed here is left as it is, and
    so is one whose result would stand beside its weight, as of a word table that is, turned, the output layer too.
    """
    import onnx

    graph = model.graph
    _pass_identities(model)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    roots = {name: name for name, tensor in stored.items() if len(tensor.dims) > 1}
    unchanged = set(roots)
    misleading = set()
    staying = _read_by_what_stays(model, stored)
    outputs = {value.name for value in graph.output}
    done: dict[tuple[Any, ...], list[str]] = {}
    same: dict[str, str] = {}
    kept = []
    for original in graph.node:
        node = onnx.NodeProto.FromString(original.SerializeToString())
        reread([node], same)
        key = (node.op_type, *node.input, *sorted(each.SerializeToString() for each in node.attribute))
        if not _foldable(node, stored) or any(name in outputs for name in node.output):
            kept.append(node)
            continue
        if key in done:
            same.update(zip(node.output, done[key], strict=True))
            continue
        arrays = _computed(node, stored, model)
        if arrays is None or any(name in staying and name in roots for name in node.input):
            kept.append(node)
            continue
        done[key] = list(node.output)
        largest = max((math.prod(stored[name].dims) for name in node.input if name in roots), default=0)
        origins = {
            roots[name] for name in node.input if name in roots and math.prod(stored[name].dims) == largest
        }
        for name, array in zip(node.output, arrays, strict=True):
            stored[name] = onnx.numpy_helper.from_array(array, name)
            if array.ndim > 1 and len(origins) == 1:
                roots[name] = root = next(iter(origins))
                if node.op_type in _MOVES and node.input[0] in unchanged:
                    unchanged.add(name)
                elif sorted(array.shape) == sorted(stored[root].dims):
                    misleading.add(name)
    set_nodes(graph, kept)
    for body in bodies(model):
        reread(body.node, same)
    graph.initializer.extend(stored[name] for names in done.values() for name in names)
    drop_unused(model)
    live = {tensor.name: roots.get(tensor.name, tensor.name) for tensor in graph.initializer}
    new = {name: root for name, root in live.items() if name != root}
    apart = {name: root for name, root in new.items() if name in misleading}
    return apart | keep_names(model, {name: root for name, root in new.items() if name not in apart})


def _pass_identities(model: Any) -> None:
    """Whoever reads a copy that an Identity makes of an initializer reads the initializer."""
    graph = model.graph
    same = {tensor.name: tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in same and node.output[0] not in outputs:
            same[node.output[0]] = same[node.input[0]]
        else:
            kept.append(node)
    set_nodes(graph, kept)
    for part in (graph, *bodies(model)):
        reread(part.node, same)


def _read_by_what_stays(model: Any, stored: Collection[str]) -> set[str]:
    """The names that nodes read which depend on more than initializers, or stand in a body."""
    known, read = set(stored), {name for body in bodies(model) for node in body.node for name in node.input}
    for node in model.graph.node:
        if _foldable(node, known):
            known.update(node.output)
        else:
            read.update(node.input)
    return read


def _foldable(node: Any, stored: Collection[str]) -> bool:
    plain = node.domain in ("", "ai.onnx") and node.op_type not in _NOT_FOLDED
    branches = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
    given = [name for name in node.input if name]
    return (
        plain
        and not branches
        and bool(given)
        and all(name in stored for name in given)
        and "" not in node.output
    )


def _computed(node: Any, stored: dict[str, Any], model: Any) -> list[Array] | None:
    """What a node gives for stored inputs; None where ONNX Runtime has no kernel, or the result would take more room."""
    import onnx
    import onnxruntime

    names = list(dict.fromkeys(name for name in node.input if name))
    feed = {name: onnx.numpy_helper.to_array(stored[name]) for name in names}
    inputs = [
        onnx.helper.make_tensor_value_info(name, stored[name].data_type, list(stored[name].dims))
        for name in names
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    graph = onnx.helper.make_graph([node], "fold", inputs, outputs)
    alone = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            alone.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        arrays: list[Array] = session.run(None, feed)
    except (
        Exception
    ):  # ONNX Runtime's own share no base; the node then stays, and its weight is reported as it is
        return None
    room = 2 * sum(array.nbytes for array in feed.values()) + _ROOM
    return arrays if sum(array.nbytes for array in arrays) <= room else None
