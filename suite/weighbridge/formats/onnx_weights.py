"""The weights of an ONNX model as stored, wherever it stores them, each once.

A float is a weight, unless it is a scale. An integer is one where an operator dequantizes it, or multiplies with it what
the graph has cast; shapes, indices and masks are none. Integers of operators that are not known here are given as unread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from weighbridge.contracts import Quantization, StoredTensor
from weighbridge.core.codes import is_reduced_float
from weighbridge.formats.onnx_codes import Unread, read_arithmetic, read_bias, read_slot, scale_of, source
from weighbridge.formats.onnx_constants import Constant, width
from weighbridge.formats.onnx_flow import Flow, Key, Path, Reader
from weighbridge.formats.onnx_operators import (
    INT32_BIASES,
    PARAMETERS,
    QUANTIZED,
    STANDARD,
    Slot,
    is_known,
    is_product,
)
from weighbridge.formats.onnx_unpacked import unpacked
from weighbridge.formats.onnx_use import ARITHMETIC, carries, other, use_of
from weighbridge.formats.reduced_floats import reduced_float

if TYPE_CHECKING:
    from weighbridge.contracts import Array

_NARROW = ("int2", "uint2", "int4", "uint4", "int8", "uint8", "int16", "uint16")


def graphs(model: Any) -> Iterator[Any]:
    """The main graph, every body of If, Loop and Scan, and every model-local function."""
    pending = [model.graph, *model.functions]
    while pending:
        graph = pending.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                pending += [attribute.g] if attribute.HasField("g") else []
                pending += attribute.graphs


def imports(model: Any) -> list[Any]:
    """ONNX's own operator set, and those that an operator of the model is of, wherever it stands."""
    used = {"", "ai.onnx", *(node.domain for graph in graphs(model) for node in graph.node)}
    return [each for each in model.opset_import if each.domain in used]


class _Codes(NamedTuple):
    """How an integer constant becomes numbers to calculate with: as an operator's `slot`, or by the graph's arithmetic."""

    reader: Reader
    path: Path
    slot: Slot | None
    bias: bool = False


def stored_tensors(model: Any) -> Iterator[StoredTensor]:
    """Every weight that the model stores; one that several operators read is given once."""
    return (tensor for _, tensor in keyed_tensors(Flow(model)))


def keyed_tensors(flow: Flow) -> Iterator[tuple[Key, StoredTensor]]:
    """The same, each with the constant that it is (`Flow.constants`)."""
    found: dict[Key, _Codes | str] = {}
    parameters: set[Key] = set()
    for key, constant in flow.constants.items():
        codes = _codes(key, constant, flow)
        if codes is not None:
            found[key] = codes
        parameters |= _parameters(key, codes, flow)
    made = unpacked(flow, found.keys() | parameters)
    found |= {key: _made_of(flow.constants[key], who) for key, who in made.items()}
    for key, constant in flow.constants.items():
        if key in found and key not in parameters:
            yield key, _integers(key, constant, found[key], flow)
        elif key not in parameters and _is_float(constant.dtype):
            yield key, _floats(key, constant, flow)


def _is_float(dtype: str) -> bool:
    return is_reduced_float(dtype) or dtype.startswith(("float", "complex"))


def _codes(key: Key, constant: Constant, flow: Flow) -> _Codes | str | None:
    """How the numbers are dequantized; why that is not known; or None for shapes, indices, masks, and for plain floats."""
    if _is_float(constant.dtype) and not constant.dtype.startswith(("float8", "float4")):
        return None
    unread = ""
    for reader, path in flow.follow(key, lambda step, path: carries(step, path, flow)):
        node, position = reader.node, reader.position
        cast = any(step.node.op_type in ("Cast", "CastLike", "BitCast") for step in path)
        if is_known(node):
            slot = next((slot for slot in QUANTIZED.get(node.op_type, ()) if slot.codes == position), None)
            if slot is not None and not cast:
                return _Codes(reader, path, slot)
            if position in INT32_BIASES.get(node.op_type, ()):
                return _Codes(reader, path, None, bias=True)
            if is_product(node, position) or (cast and _is_scaled(reader, flow)):
                return _Codes(reader, path, None)
        unread = unread or _not_understood(constant, reader)
    return unread or None


def _is_scaled(reader: Reader, flow: Flow) -> bool:
    """Whether codes are multiplied by a stored scale here; a mask that is scaled to minus infinity is none."""
    if reader.node.op_type not in ("Mul", "Div") or reader.position not in ARITHMETIC[reader.node.op_type]:
        return False
    scale = other(reader, flow)
    if scale is None or not _is_float(flow.constants[scale].dtype):
        return False
    return bool((flow.constants[scale].array() > 0).all())


def _not_understood(constant: Constant, reader: Reader) -> str:
    """Why these integers may be weights; nothing where they cannot be."""
    node, position = reader.node, reader.position
    if node.domain in STANDARD or position in PARAMETERS.get(node.op_type, ()):
        return ""
    if is_known(node) and any(position in slot[1:] for slot in QUANTIZED.get(node.op_type, ())):
        return ""
    narrow = constant.dtype in _NARROW and constant.stored_bytes > 1
    if not narrow and (
        is_known(node) or constant.array().ndim < 2 or constant.array().dtype.kind not in "iu"
    ):
        return ""
    return (
        f"what {node.domain}.{node.op_type} ('{node.name or node.output[0]}') does with these {constant.dtype} numbers "
        "is not known"
    )


def _made_of(constant: Constant, who: str) -> str:
    return f"the graph makes the numbers of these {constant.dtype} codes that {who} reads, by a list of values or bit by bit"


def _parameters(key: Key, codes: _Codes | str | None, flow: Flow) -> set[Key]:
    """Constants that are no weights: this one as somebody's scale or zero point, and those of its own codes."""
    found: set[Key] = set()
    readers = flow.readers.get(key, ())
    scales = [reader for reader in readers if is_known(reader.node) and _is_parameter(reader)]
    if scales and not any(is_product(reader.node, reader.position) for reader in readers):
        found.add(key)
    if isinstance(codes, _Codes):
        try:
            if codes.slot is not None:
                scale = scale_of(codes.reader, codes.slot, flow)
                found |= {scale} if scale is not None else set()
            elif not codes.bias:
                found |= set(read_arithmetic(flow.constants[key], codes.path, codes.reader, flow)[2])
        except Unread:
            pass  # the constant itself is told as unread, by name
    return found


def _is_parameter(reader: Reader) -> bool:
    kind, position = reader.node.op_type, reader.position
    if kind == "QLinearConcat" and position > 1:
        return position % 3 != 2  # triplets of tensor, scale, zero point
    return position in PARAMETERS.get(kind, ()) or any(
        position in slot[1:] for slot in QUANTIZED.get(kind, ())
    )


def _integers(key: Key, constant: Constant, codes: _Codes | str, flow: Flow) -> StoredTensor:
    if isinstance(codes, str):
        return _tensor(key, constant, constant.array(), None, flow, codes)
    try:
        if codes.slot is not None:
            array, quantization = read_slot(constant, codes.reader, codes.slot, codes.path, flow)
        elif codes.bias:
            array, quantization = read_bias(constant, codes.reader, flow)
        else:
            array, quantization, _ = read_arithmetic(constant, codes.path, codes.reader, flow)
    except Unread as reason:
        return _tensor(key, constant, constant.array(), None, flow, str(reason))
    return _tensor(key, constant, array, quantization, flow)


def _floats(key: Key, constant: Constant, flow: Flow) -> StoredTensor:
    array = _as_matrix(key, constant.array(), flow)
    reduced = (
        reduced_float(constant.dtype, width(constant.dtype)) if is_reduced_float(constant.dtype) else None
    )
    return _tensor(key, constant, array, reduced, flow)


def _as_matrix(key: Key, array: Array, flow: Flow) -> Array:
    """A list that the graph reshapes into a matrix, or feeds a product in another shape, is a matrix that is stored flat."""
    if array.ndim != 1 or array.size < 2:
        return array
    for reader, path in flow.follow(key, lambda step, path: carries(step, path, flow)):
        in_order = all(step.node.op_type in ("Identity", "Cast") for step in path)
        if reader.node.op_type == "Reshape" and reader.position == 0 and in_order:
            target = source(flow.key(reader.node.input[1], reader.scope), flow)
            shape = [] if target is None else [int(size) for size in flow.constants[target].array()]
            if sum(size != 1 for size in shape) > 1 and 0 not in shape:
                return array.reshape(shape)
        if path and is_product(reader.node, reader.position):
            return array.reshape(1, -1)
    return array


def _tensor(
    key: Key,
    constant: Constant,
    array: Array,
    quantization: Quantization | None,
    flow: Flow,
    unread: str = "",
) -> StoredTensor:
    name = constant.name.removesuffix("_quantized")
    operator, use = use_of(key, array.ndim, flow)
    return StoredTensor(
        name=name,
        array=array,
        dtype=constant.dtype,
        stored_bytes=constant.stored_bytes,
        quantization=quantization,
        layer=name.rpartition(".")[0] or name,
        operator=operator,
        use=use,
        unread=unread,
    )
