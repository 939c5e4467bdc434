"""The weights of an ONNX graph as stored: initializers and constants, in subgraphs and functions too.

How a tensor is quantized is told by the operator that consumes it. Sources: the ONNX operator specification
(QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger, DequantizeLinear) and ONNX Runtime's contrib operators
(MatMulNBits, DynamicQuantizeMatMul, QGemm).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import Quantization, StoredTensor

if TYPE_CHECKING:
    from weighbridge.contracts import Array

# operator -> positions of (weight, scale, zero point); None where the operator does not name one.
_CONSUMERS: dict[str, tuple[int, int | None, int | None]] = {
    "DequantizeLinear": (0, 1, 2),
    "QLinearConv": (3, 4, 5),
    "QLinearMatMul": (3, 4, 5),
    "QGemm": (3, 4, 5),
    "MatMulInteger": (1, None, 3),
    "ConvInteger": (1, None, 3),
    "MatMulIntegerToFloat": (1, 3, 5),
    "DynamicQuantizeMatMul": (1, 2, 3),
    "MatMulNBits": (1, 2, 3),
}
_INTEGERS = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16}
_REDUCED = ("float8", "float4", "float16", "bfloat16")


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


def stored_tensors(model: Any) -> Iterator[StoredTensor]:
    """Every weight that the file stores. Constants of fewer than two elements are not weights."""
    import onnx

    for graph in graphs(model):
        protos: dict[str, Any] = {proto.name: proto for proto in getattr(graph, "initializer", ())}
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value" and attribute.HasField("t"):
                    protos[node.output[0]] = attribute.t
        consumers: dict[str, tuple[Any, int]] = {}
        parameters: set[str] = set()
        for node in graph.node:
            weight, scale, zero = _CONSUMERS.get(node.op_type, (-1, None, None))
            for position, name in enumerate(node.input):
                if name not in protos:
                    continue
                if position in (scale, zero):
                    parameters.add(name)
                elif name not in consumers or position == weight:
                    consumers[name] = (node, position)
        for name, proto in protos.items():
            if name in parameters or proto.data_type == onnx.TensorProto.STRING:
                continue
            consumer, position = consumers.get(name, (None, -1))
            yield _stored(name, proto, consumer, position, protos)


def _stored(name: str, proto: Any, consumer: Any, position: int, protos: dict[str, Any]) -> StoredTensor:
    dtype, array, stored_bytes = _read(proto)
    operator = consumer.op_type if consumer is not None else ""
    quantization = None
    weight, scale_at, zero_at = _CONSUMERS.get(operator, (-1, None, None))
    if consumer is not None and position == weight:
        attributes = {attribute.name: attribute for attribute in consumer.attribute}
        if operator == "MatMulNBits":
            array, quantization = _blocks(array, consumer, attributes, protos)
        elif dtype in _INTEGERS:
            quantization = _affine(name, dtype, array, consumer, attributes, protos, scale_at, zero_at)
    if quantization is None and dtype.startswith(_REDUCED):
        bits = 8 * stored_bytes // max(array.size, 1)
        import numpy as np

        array = array.astype(np.float32)
        quantization = Quantization(bits, np.ones((), np.float32), np.zeros((), np.int32), scheme=dtype)
    base = name.removesuffix("_quantized")
    return StoredTensor(
        base, array, dtype, stored_bytes, quantization, base.rpartition(".")[0] or base, operator
    )


def _read(proto: Any) -> tuple[str, Array, int]:
    """Data type (ONNX's name, lower case), values (sub-byte integers one a number, as int8), bytes in the file."""
    import numpy as np
    import onnx

    dtype = onnx.TensorProto.DataType.Name(proto.data_type).lower()
    dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
    array = onnx.numpy_helper.to_array(proto)
    bits = _INTEGERS.get(dtype) or (4 if dtype.startswith("float4") else array.dtype.itemsize * 8)
    if dtype in ("int4", "int2"):
        array = array.astype(np.int8)
    elif dtype in ("uint4", "uint2"):
        array = array.astype(np.uint8)
    return dtype, array, -(-array.size * bits // 8)


def _affine(
    name: str,
    dtype: str,
    array: Array,
    node: Any,
    attributes: Any,
    protos: dict[str, Any],
    scale_at: int | None,
    zero_at: int | None,
) -> Quantization:
    import numpy as np

    scale = _input(node, scale_at, protos)
    if scale is None:  # integer operators: the scale is multiplied in further down, under ORT's name for it
        proto = protos.get(f"{name.removesuffix('_quantized')}_scale")
        scale = np.ones((), np.float32) if proto is None else _read(proto)[1]
    zero = _input(node, zero_at, protos)
    if zero is None:
        zero = np.zeros(scale.shape, array.dtype)
    scale, zero = (np.squeeze(value) if value.size == 1 else value for value in (scale, zero))
    group = attributes["block_size"].i if "block_size" in attributes and attributes["block_size"].i else None
    axis = None
    if scale.ndim or zero.ndim:
        default = {"ConvInteger": 0, "QLinearConv": 0, "DequantizeLinear": 1}.get(
            node.op_type, array.ndim - 1
        )
        axis = (attributes["axis"].i if "axis" in attributes else default) % max(array.ndim, 1)
    return Quantization(_INTEGERS[dtype], scale, zero, axis, group)


def _blocks(packed: Array, node: Any, attributes: Any, protos: dict[str, Any]) -> tuple[Array, Quantization]:
    """MatMulNBits: B is [N, K/block, block*bits/8] bytes, low bits first; scales [N * K/block]; codes become [N, K]."""
    import numpy as np

    rows, columns = attributes["N"].i, attributes["K"].i
    bits = attributes["bits"].i if "bits" in attributes else 4
    block = attributes["block_size"].i
    groups = -(-columns // block)
    codes = _unpack(packed.reshape(rows, -1), bits)[:, : groups * block][:, :columns]
    scale = _input(node, 2, protos)
    scale = np.ones((rows, groups), np.float32) if scale is None else scale.reshape(rows, groups)
    zero = _input(node, 3, protos)
    if zero is None:
        points = np.full((rows, groups), 1 << (bits - 1), np.uint8)
    elif zero.dtype == np.uint8:
        points = _unpack(zero.reshape(rows, -1), bits)[:, :groups]
    else:
        points = zero.reshape(rows, groups)
    return codes, Quantization(bits, scale, points, axis=1, group_size=block)


def _unpack(array: Array, bits: int) -> Array:
    import numpy as np

    if bits == 8:
        return array
    parts = [(array >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(*array.shape[:-1], -1)


def _input(node: Any, position: int | None, protos: dict[str, Any]) -> Array | None:
    if position is None or position >= len(node.input) or node.input[position] not in protos:
        return None
    return _read(protos[node.input[position]])[1]
