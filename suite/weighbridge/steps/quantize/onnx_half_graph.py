"""The graph of an ONNX model in float16, as accelerators compute it: what has no float16 stays in float32, between Casts.

Onnx's own definitions say which inputs and outputs of an operator may be float16. Each operator reads and gives what it may,
and a Cast that nobody reads goes. The converter that ONNX Runtime brings (`onnxruntime.transformers.float16`) puts the Casts
of a body into the main graph, raises numbers below 6e-8 to that, cuts those above 65504, and sorts no nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from weighbridge.core.listed import few
from weighbridge.formats.onnx_weights import graphs
from weighbridge.steps.onnx_edits import bodies, drop_unused, free_name, names, readers, set_nodes
from weighbridge.steps.onnx_fold import constant_tensor
from weighbridge.steps.onnx_types import inferred
from weighbridge.steps.quantize.onnx_half_ports import cast_to, halve_ports

_LARGEST = 65504.0
_VANISHING = 2.0**-25
"""The largest number that float16 rounds to 0."""
_STANDARD = ("", "ai.onnx")
_KEPT = ("Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
"""What has a type of its own to say, or scales, of which every digit counts."""
_CARRIES = (
    "Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Gather", "Slice",
    "Split", "Concat", "Dropout", "Abs", "Sqrt", "Pow", "Reciprocal",
)  # fmt: skip
"""What passes numbers on, or makes a root or an inverse of them: what float16 cannot hold, it may not hold behind it."""


def compute_in_float16(
    proto: Any, exclude: Sequence[str], left: Collection[str], keep_io: bool
) -> tuple[str, ...]:
    """Edit the graph in place; what is in float16 already is read so.

    Operators that `exclude` names, or that read one of the weights `left` or a constant that float16 rounds to 0, stay in
    float32. Returns what there is to say, a sentence each: operators that have no float16, such constants, and those that
    were cut to its largest number.
    """
    if not keep_io:
        halve_ports(proto)
    work = _Conversion(proto, exclude, left)
    work.convert(proto.graph, inferred(proto).graph, None)
    for graph in (proto.graph, *bodies(proto)):
        del graph.value_info[:]  # their types are no longer these
    _drop_unread(proto)
    return tuple(work.notes())


@dataclass
class _Scope:
    """What is known of the names of one graph, and the graph around it."""

    types: dict[str, int]
    around: _Scope | None
    halves: dict[str, str] = field(default_factory=dict)
    """What a float32 tensor is called in float16, where it is there."""
    stored: dict[str, Any] = field(default_factory=dict)
    """Its float32 constants, as TensorProtos."""

    def find(self, what: str, name: str) -> Any:
        """What the next graph outwards that has it says of a name; None where none does."""
        own = getattr(self, what).get(name)
        return own if own is not None or self.around is None else self.around.find(what, name)


class _Conversion:
    def __init__(self, proto: Any, exclude: Sequence[str], left: Collection[str]) -> None:
        self._opset = next(each.version for each in proto.opset_import if each.domain in _STANDARD)
        self._exclude, self._left = exclude, {*left}
        self._taken = names(proto)
        # ONNX Runtime's optimizer (MatmulTransposeFusion, seen in 1.31) moves the Cast that it puts between a Transpose of
        # float16 and a MatMul, and may end the process.
        self._multiplied = {
            name
            for graph in graphs(proto)
            for node in graph.node
            if node.op_type == "MatMul"
            for name in node.input
        }
        self._turned = 0
        self._in_float: Counter[str] = Counter()
        self._cut: list[str] = []
        self._tiny: list[str] = []

    def notes(self) -> Iterator[str]:
        if self._in_float:
            kinds = few(f"{count} {kind}" for kind, count in self._in_float.most_common())
            yield f"in float32, between Casts, since float16 is not defined for them: {kinds}"
        if self._turned:
            yield f"{self._turned} Transpose in front of a MatMul in float32, since ONNX Runtime may not open them in float16"
        if self._tiny:
            yield f"read in float32, since float16 rounds them to 0: {few(self._tiny)}"
        if self._cut:
            yield f"constants beyond {_LARGEST:g} were cut to it: {few(self._cut)}"

    def convert(self, graph: Any, typed: Any, around: _Scope | None) -> None:
        import onnx

        values = (*typed.input, *typed.output, *typed.value_info)
        types = {value.name: value.type.tensor_type.elem_type for value in values}
        types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        scope = _Scope(types, around)
        scope.stored = {tensor.name: tensor for tensor in graph.initializer if _is_float(tensor)}
        nodes: list[Any] = []
        for node, twin in zip(graph.node, typed.node, strict=True):
            for attribute, other in zip(node.attribute, twin.attribute, strict=True):
                if attribute.HasField("g"):
                    self.convert(attribute.g, other.g, scope)
            if node.op_type == "Constant":
                tensor = constant_tensor(node)
                if tensor is not None and _is_float(tensor):
                    scope.stored[node.output[0]] = tensor
            if node.op_type == "Cast" and node.domain in _STANDARD:
                self._must_stay(node, scope)
                nodes.append(_shorter(node, scope))
                continue
            inputs, outputs = self._halvable(node, scope)
            for position in inputs:
                node.input[position] = self._half(node.input[position], scope, graph, nodes)
            nodes.append(node)
            for position in outputs:
                name = node.output[position]
                node.output[position] = scope.halves[name] = free_name(f"{name}_half", self._taken)
                nodes.append(cast_to(scope.halves[name], name, onnx.TensorProto.FLOAT))
        set_nodes(graph, nodes)

    def _half(self, name: str, scope: _Scope, graph: Any, nodes: list[Any]) -> str:
        """The name of the tensor in float16, which is made where it is not there yet."""
        import onnx

        found = scope.find("halves", name)
        if found is not None:
            return str(found)
        tensor = scope.find("stored", name)
        half = free_name(f"{name}_half" if tensor is None else f"{name}_quantized", self._taken)
        scope.halves[name] = half
        if tensor is None:
            nodes.append(cast_to(name, half, onnx.TensorProto.FLOAT16))
        else:
            graph.initializer.append(self._rounded(tensor, name, half))
        return half

    def _rounded(self, tensor: Any, name: str, half: str) -> Any:
        import numpy as np
        import onnx

        numbers = onnx.numpy_helper.to_array(tensor)
        beyond = np.isfinite(numbers) & (np.abs(numbers) > _LARGEST)
        if beyond.any():
            self._cut.append(name)
            numbers = np.where(beyond, np.copysign(_LARGEST, numbers), numbers)
        return onnx.numpy_helper.from_array(numbers.astype(np.float16), half)

    def _halvable(self, node: Any, scope: _Scope) -> tuple[list[int], list[int]]:
        """The positions of the node's inputs and outputs to be float16; none where it stays in float32."""
        import onnx

        float32 = onnx.TensorProto.FLOAT
        types = [scope.find("types", name) if name else None for name in node.input]
        given = [scope.find("types", name) if name else None for name in node.output]
        if float32 not in types or float32 not in given or node.op_type in _KEPT:
            return [], []
        if self._must_stay(node, scope) or self._is_wanted(node):
            return [], []
        if node.op_type == "Transpose" and node.output[0] in self._multiplied:
            self._turned += 1
            return [], []
        found = self._by_definition(node, types, given)
        if found is None:
            self._in_float[node.op_type] += 1
            return [], []
        return found

    def _is_wanted(self, node: Any) -> bool:
        """Whether somebody wants it in float32, or it is converted by its bodies."""
        named = any(fnmatchcase(node.name, pattern) or node.op_type == pattern for pattern in self._exclude)
        return named or any(attribute.HasField("g") for attribute in node.attribute)

    def _must_stay(self, node: Any, scope: _Scope) -> bool:
        """Whether it reads what float16 cannot hold; then whoever reads what it passes on must stay too."""
        tiny = [name for name in node.input if _vanishes(scope.find("stored", name), node)]
        self._tiny += [name for name in tiny if name not in self._tiny]
        stays = bool(tiny) or any(name in self._left for name in node.input)
        if tiny or (stays and node.op_type in _CARRIES):
            self._left.update(filter(None, node.output))
        return stays

    def _by_definition(
        self, node: Any, types: list[int | None], given: list[int | None]
    ) -> tuple[list[int], list[int]] | None:
        import onnx

        if node.domain not in _STANDARD:
            return None
        try:
            definition = onnx.defs.get_schema(node.op_type, self._opset, "")
        except onnx.defs.SchemaError:
            return None
        allowed = {each.type_param_str: each.allowed_type_strs for each in definition.type_constraints}
        reads = [_formal(definition.inputs, position) for position in range(len(types))]
        gives = [_formal(definition.outputs, position) for position in range(len(given))]
        float32 = onnx.TensorProto.FLOAT
        halved = {
            kind
            for kind, type_ in zip(reads, types, strict=True)
            if type_ == float32 and "tensor(float16)" in allowed.get(kind, ())
        }
        outputs = [
            position for position, kind in enumerate(gives) if kind in halved and node.output[position]
        ]
        # What gives a float32 of its own choice, as random numbers do, says the type in an attribute.
        chosen = any(
            type_ == float32 and kind not in halved and "tensor(float16)" in allowed.get(kind, ())
            for kind, type_ in zip(gives, given, strict=True)
        )
        if not outputs or chosen:
            return None
        return [
            position for position, kind in enumerate(reads) if kind in halved and node.input[position]
        ], outputs


def _formal(parameters: Sequence[Any], position: int) -> str:
    """The type of a parameter by its position; the last may stand for several."""
    return str(parameters[min(position, len(parameters) - 1)].type_str)


def _vanishes(tensor: Any, reader: Any) -> bool:
    """Whether float16 makes zeros of all its numbers that are none, or of one that others are divided by."""
    import numpy as np
    import onnx

    if tensor is None:
        return False
    numbers = onnx.numpy_helper.to_array(tensor)
    gone = np.abs(numbers[numbers != 0]) <= _VANISHING
    return bool(gone.any() and (gone.all() or reader.op_type == "Div"))


def _is_float(tensor: Any) -> bool:
    import onnx

    return bool(tensor.data_type == onnx.TensorProto.FLOAT)


def _shorter(cast: Any, scope: _Scope) -> Any:
    """A Cast to float32 tells where the float16 is; one to float16 of what is there so already passes it on."""
    import onnx

    (to,) = (attribute.i for attribute in cast.attribute if attribute.name == "to")
    (source,), (target,) = cast.input, cast.output
    half = onnx.TensorProto.FLOAT16
    if to == onnx.TensorProto.FLOAT and scope.find("types", source) == half:
        scope.halves[target] = source
    there = scope.find("halves", source)
    if to == half and there is not None:
        return onnx.helper.make_node("Identity", [there], [target], name=cast.name)
    return cast


def _drop_unread(proto: Any) -> None:
    """Remove the Casts, and then the constants, that nobody reads any more."""
    for kinds in (("Cast",), ("Constant",)):
        read = readers(proto)
        unread = [
            (graph, node)
            for graph in (proto.graph, *bodies(proto))
            for node in graph.node
            if node.op_type in kinds and not any(read[name] for name in node.output)
        ]
        for graph, node in unread:
            graph.node.remove(node)
    drop_unused(proto)
