"""An ONNX model with one layer at a time as its quantized twin has it: what that layer alone does to the outputs.

Quantizers keep the names of most tensors. What lies between two tensors that both graphs name alike is one piece, and a
piece of the candidate can stand in the original's place, since it takes and gives the same floats.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge.contracts import Mixed
from weighbridge.core.errors import StageError
from weighbridge.core.results import Artifact
from weighbridge.engines.onnxruntime import OnnxRuntimeOptions, OnnxRuntimeSession
from weighbridge.environment.quiet import quiet
from weighbridge.formats.onnx_file import whole
from weighbridge.formats.opened import opened

_OWN = "weighbridge//"
"""In front of every name that a piece of the candidate brings along."""
_CODES = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
_MOVES = (
    "Relu", "Clip", "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Slice", "Split",
    "Gather", "Pad", "Expand", "Shape", "Size", "Dropout", "Cast", "Resize", "DepthToSpace", "SpaceToDepth",
)  # fmt: skip
"""Operators without arithmetic of their own, where they hold no weights: they only hand on what was rounded before."""
_OUTPUT_SCALE = {"QLinearConv": 6, "QLinearMatMul": 6, "QGemm": 7, "QLinearAdd": 6, "QLinearMul": 6, "QLinearConcat": 0,
                 "QLinearGlobalAveragePool": 3, "QLinearAveragePool": 3, "QLinearLeakyRelu": 3, "QLinearSigmoid": 3}  # fmt: skip
"""Operators that give codes: which input is the scale of their output; its zero point is the next."""


def mixed(original: Artifact, candidate: Artifact, options: OnnxRuntimeOptions) -> Iterator[Mixed]:
    """See `contracts.Engine.mixed`. What the two graphs do not name alike is left out, not guessed at."""
    before, after = whole(opened(original).value), whole(opened(candidate).value)
    twin = _Graph(_with_float_borders(after, before))
    basis = _same_opset(before, twin.model)
    if basis is None:
        return
    floats = _Graph(basis)
    common = floats.tensors & twin.tensors
    for name in floats.outputs_in_order:
        if name not in common:
            continue
        end, passed = twin.handed_on(name, common)
        there, here = (graph.piece(end, common - passed) for graph in (twin, floats))
        if there is None or here is None or not _alike(floats, here, there) or not _quantized(here, there):
            continue
        content = _transplanted(floats, twin, end, there)
        try:
            session = OnnxRuntimeSession(content, options.threads, options.provider)
        except StageError:  # a piece that does not fit
            continue
        yield Mixed(*_called(here), session)


@dataclass(frozen=True)
class _Piece:
    """The nodes that make one tensor of others, in order; the tensors taken; the constants with two or more axes."""

    nodes: tuple[Any, ...]
    taken: frozenset[str]
    weights: Mapping[str, Any]


class _Graph:
    """The main graph of a model, by name."""

    def __init__(self, model: Any) -> None:
        self.model = model
        graph = model.graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                self.constants[node.output[0]] = node.attribute[0].t
        inputs = [value.name for value in graph.input if value.name not in self.constants]
        self.nodes = list(graph.node)
        self.producers = {name: at for at, node in enumerate(self.nodes) for name in node.output if name}
        self.outputs_in_order = [name for name in self.producers if name not in self.constants]
        self.tensors = frozenset([*inputs, *self.outputs_in_order])

    def piece(self, name: str, borders: Collection[str]) -> _Piece | None:
        """What makes `name`, back to the nearest of `borders`; None where that cannot be told."""
        places: set[int] = set()
        taken: set[str] = set()
        weights: dict[str, Any] = {}
        todo = [name]
        while todo:
            each = todo.pop()
            if not each:
                continue
            if each in self.constants:
                if len(self.constants[each].dims) > 1:
                    weights[each] = self.constants[each]
            elif each != name and each in borders:
                taken.add(each)
            else:
                at = self.producers.get(each)
                if at is None or any(attribute.HasField("g") for attribute in self.nodes[at].attribute):
                    return None  # a body may read whatever stands around it
                if at not in places:
                    places.add(at)
                    todo += self.nodes[at].input
        nodes = tuple(self.nodes[at] for at in sorted(places))
        return _Piece(nodes, frozenset(taken), weights)

    def handed_on(self, name: str, borders: Collection[str]) -> tuple[str, frozenset[str]]:
        """Where `name` is rounded: there, or behind a Relu and the like; and the tensors passed on the way."""
        end, passed = name, []
        while not self.rounded(end):
            readers = [node for node in self.nodes if end in node.input]
            if len(readers) != 1 or readers[0].op_type not in _MOVES or readers[0].output[0] not in borders:
                return name, frozenset()
            passed.append(end)
            end = readers[0].output[0]
        return end, frozenset(passed)

    def rounded(self, name: str) -> tuple[Any, ...]:
        """The QuantizeLinear and DequantizeLinear that every reader of `name` reads it through."""
        readers = [node for node in self.nodes if name in node.input]
        if len(readers) == 1 and readers[0].op_type == "QuantizeLinear":
            codes = readers[0].output[0]
            for node in self.nodes:
                if node.op_type == "DequantizeLinear" and node.input[0] == codes:
                    return (readers[0], node)
        return ()


def _alike(floats: _Graph, here: _Piece, there: _Piece) -> bool:
    """Whether both pieces take the same tensors and hold the same weights: two exports may number tensors unlike.

    Quantizers call the codes of `w` `w_quantized`; weights that none of the original's names fits are told by their sizes.
    """

    def sizes(piece: _Piece) -> list[int]:
        return sorted(math.prod(tensor.dims) for tensor in piece.weights.values())

    names = {name.removesuffix("_quantized") for name in there.weights}
    others = names & floats.constants.keys() - here.weights.keys()
    return here.taken == there.taken and sizes(here) == sizes(there) and not others


def _quantized(here: _Piece, there: _Piece) -> bool:
    """Whether the candidate's piece computes something else: other weights, or codes in place of floats."""
    if not here.weights:
        worked = {node.op_type for node in here.nodes} - {*_MOVES}
        return bool(worked) and any(node.op_type in _CODES for node in there.nodes)
    stored = {name: tensor.SerializeToString() for name, tensor in here.weights.items()}
    return {name: tensor.SerializeToString() for name, tensor in there.weights.items()} != stored


def _called(piece: _Piece) -> tuple[str, str]:
    """What `exclude` may call it: the layer that its weights belong to, else the weight or the node; and its operator."""
    readers = [node for node in piece.nodes if set(node.input) & set(piece.weights)]
    node = (readers or [node for node in piece.nodes if node.op_type not in _MOVES])[-1]
    owners = {weight.rpartition(".")[0] for weight in piece.weights}
    owner = owners.pop() if len(owners) == 1 else ""
    return owner or node.name or next(iter(piece.weights), node.output[0]), node.op_type


def _transplanted(floats: _Graph, twin: _Graph, name: str, piece: _Piece) -> bytes:
    """The original, with `name` made by the candidate's piece."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(floats.model)
    rounded = twin.rounded(name)
    result = rounded[-1].output[0] if rounded else name
    used: set[str] = set()

    def own(each: str) -> str:
        if not each or each in piece.taken:
            return each
        used.add(each)
        return name if each == result else _OWN + each

    added = []
    for node in (*piece.nodes, *rounded):
        copied = onnx.NodeProto.FromString(node.SerializeToString())
        copied.name = node.name and _OWN + node.name
        copied.input[:] = [own(each) for each in node.input]
        copied.output[:] = [own(each) for each in node.output]
        added.append(copied)
    nodes = []
    for node in model.graph.node:
        if name in node.output:
            nodes += added
            node.output[:] = [f"{_OWN}original/{each}" if each == name else each for each in node.output]
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for each in sorted(used & set(twin.constants)):
        tensor = onnx.TensorProto.FromString(twin.constants[each].SerializeToString())
        tensor.name = _OWN + each
        model.graph.initializer.append(tensor)
    known = {entry.domain for entry in model.opset_import}
    model.opset_import.extend(each for each in twin.model.opset_import if each.domain not in known)
    functions = {(each.domain, each.name) for each in model.functions}
    model.functions.extend(each for each in twin.model.functions if (each.domain, each.name) not in functions)
    model.ir_version = max(model.ir_version, twin.model.ir_version)
    return bytes(model.SerializeToString())


def _same_opset(model: Any, other: Any) -> Any | None:
    """`model` in the opset of `other`, in which their nodes can stand side by side; None where onnx cannot convert it."""
    import onnx

    ours, wanted = (
        next((entry.version for entry in each.opset_import if entry.domain in ("", "ai.onnx")), 0)
        for each in (model, other)
    )
    if ours == wanted:
        return model
    try:
        with quiet():
            return onnx.version_converter.convert_version(model, wanted)
    except Exception:  # whatever a pass of the converter raises
        return None


def _with_float_borders(model: Any, floats: Any) -> Any:
    """Operators that take and give codes (QLinearConv) name no float between them: here each output becomes one again.

    The codes of `y` are called `y_quantized`; scaling them to `y` and back changes nothing.
    """
    import onnx

    named = {name for node in floats.graph.node for name in node.output}
    there = {name for node in model.graph.node for name in node.output}
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        at, codes = _OUTPUT_SCALE.get(node.op_type), node.output[0] if node.output else ""
        name = codes.removesuffix("_quantized")
        if at is None or name == codes or name not in named or name in there:
            continue
        scale = list(node.input[at : at + 2])
        changed = onnx.NodeProto.FromString(node.SerializeToString())
        changed.output[0] = f"{codes}/given"
        nodes[-1] = changed
        nodes.append(onnx.helper.make_node("DequantizeLinear", [changed.output[0], *scale], [name]))
        nodes.append(onnx.helper.make_node("QuantizeLinear", [name, *scale], [codes]))
    if len(nodes) == len(model.graph.node):
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result
