"""The numbers that an ONNX model stores: where they stand, their type, and the bytes that they take in the file.

They stand in initializers, dense or sparse, and in the attributes of nodes: a Constant's in seven forms, and others'
that carry tensors. Source: onnx.proto (TensorProto, SparseTensorProto, AttributeProto) and the operator Constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weighbridge.core.codes import is_reduced_float
from weighbridge.formats.onnx_file import inside

if TYPE_CHECKING:
    from weighbridge.contracts import Array

MOST_DENSE = 1 << 28
"""A small file can claim any shape of a sparse tensor; beyond so many numbers the claim is not believed."""
BITS = {
    "int2": 2,
    "uint2": 2,
    "int4": 4,
    "uint4": 4,
    "int8": 8,
    "uint8": 8,
    "int16": 16,
    "uint16": 16,
    "int32": 32,
}
"""Of the integers that a quantized weight can be stored in."""
_NAMES = {
    "float": "float32", "double": "float64", "float8e4m3fn": "float8_e4m3fn", "float8e4m3fnuz": "float8_e4m3fnuz",
    "float8e5m2": "float8_e5m2", "float8e5m2fnuz": "float8_e5m2fnuz", "float8e8m0": "float8_e8m0fnu",
    "float4e2m1": "float4_e2m1fn",
}  # fmt: skip
"""ONNX's name of a data type, lower case -> numpy's or ml_dtypes'."""
_LISTS = ("value_float", "value_floats", "value_int", "value_ints")
_ML_DOMAIN = "ai.onnx.ml"
_MATRICES = ("coefficients", "support_vectors")
"""Lists of the linear models and support vector machines of ai.onnx.ml that are multiplied with the input."""


@dataclass(frozen=True)
class Constant:
    """`array()` reads the numbers in the shape that the file gives them; sub-byte ones come one a number."""

    name: str
    dtype: str
    array: Callable[[], Array]
    stored_bytes: int
    tensors: tuple[Any, ...] = ()
    """The TensorProtos that hold them."""


def initializers(graph: Any) -> Iterator[Constant]:
    """Of a graph; a function has none."""
    for tensor in getattr(graph, "initializer", ()):
        yield from _dense(tensor.name, tensor)
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from _sparse(sparse.values.name, sparse)


def in_attributes(node: Any) -> Iterator[Constant]:
    """What a node's attributes hold; a Constant's bears the name of its output."""
    constant = node.op_type == "Constant" and bool(node.output)
    for attribute in node.attribute:
        name = node.output[0] if constant else f"{node.name or node.op_type}.{attribute.name}"
        if attribute.HasField("t") and (constant or node.op_type != "ConstantOfShape"):
            yield from _dense(name, attribute.t)
        if attribute.HasField("sparse_tensor"):
            yield from _sparse(name, attribute.sparse_tensor)
        for index, tensor in enumerate(attribute.tensors):
            yield from _dense(f"{name}.{index}", tensor)
        for index, sparse in enumerate(attribute.sparse_tensors):
            yield from _sparse(f"{name}.{index}", sparse)
        if (constant and attribute.name in _LISTS) or (node.domain == _ML_DOMAIN and attribute.floats):
            yield _list(name, attribute)


def _dense(name: str, tensor: Any) -> Iterator[Constant]:
    import onnx

    if tensor.data_type in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
        return
    yield Constant(name, _dtype(tensor), lambda: _numbers(tensor), _data_bytes(tensor), (tensor,))


def _sparse(name: str, sparse: Any) -> Iterator[Constant]:
    """Dense where it is read: numbers that are not stored are zeros. Indices are linear, [n], or one an axis, [n, rank]."""
    import onnx

    def array() -> Array:
        import numpy as np

        shape = tuple(sparse.dims)
        if math.prod(shape) > MOST_DENSE:
            raise ValueError(f"a sparse tensor claims the shape {shape}")
        values, indices = _numbers(sparse.values), onnx.numpy_helper.to_array(inside(sparse.indices))
        dense = np.zeros(shape, values.dtype)
        where = np.unravel_index(indices, shape) if indices.ndim == 1 else tuple(indices.T)
        dense[where] = values
        return dense

    stored = _data_bytes(sparse.values) + _data_bytes(sparse.indices)
    yield Constant(name, _dtype(sparse.values), array, stored, (sparse.values, sparse.indices))


def _list(name: str, attribute: Any) -> Constant:
    """Of numbers in the attribute itself: 32-bit floats, or integers of varying length."""
    import numpy as np
    import onnx

    kinds = onnx.AttributeProto
    if attribute.type in (kinds.FLOAT, kinds.FLOATS):
        values = np.array(attribute.floats if attribute.type == kinds.FLOATS else attribute.f, np.float32)
        values = values.reshape(1, -1) if attribute.name in _MATRICES else values
        return Constant(name, "float32", lambda: values, values.nbytes)
    integers = np.array(attribute.ints if attribute.type == kinds.INTS else attribute.i, np.int64)
    return Constant(name, "int64", lambda: integers, sum(map(_varint, integers.reshape(-1).tolist())))


def _dtype(tensor: Any) -> str:
    import onnx

    return dtype_of(onnx.TensorProto.DataType.Name(tensor.data_type))


def dtype_of(name: str) -> str:
    """numpy's or ml_dtypes' name of an ONNX data type, whatever its case: `FLOAT`, or ONNX Runtime's `float`."""
    return _NAMES.get(name.lower(), name.lower())


def _numbers(tensor: Any) -> Array:
    """Reduced floats as float32; integers below a byte as (u)int8."""
    import numpy as np
    import onnx

    array: Array = onnx.numpy_helper.to_array(inside(tensor))
    dtype = _dtype(tensor)
    if dtype in ("int4", "int2"):
        return array.astype(np.int8)
    if dtype in ("uint4", "uint2"):
        return array.astype(np.uint8)
    return array.astype(np.float32) if is_reduced_float(dtype) else array


def width(dtype: str) -> int:
    """Bits of an integer or a reduced float."""
    return BITS.get(dtype) or next(
        bits for name, bits in (("float4", 4), ("float8", 8), ("", 16)) if dtype.startswith(name)
    )


def _data_bytes(tensor: Any) -> int:
    """What the numbers take, external data included: raw bytes, or protobuf's fields (a negative int8 takes ten there)."""
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    lengths = [int(entry.value) for entry in tensor.external_data if entry.key == "length"]
    if lengths:
        return lengths[0]
    fixed = 4 * len(tensor.float_data) + 8 * len(tensor.double_data)
    integers = (*tensor.int32_data, *tensor.int64_data, *tensor.uint64_data)
    return fixed + sum(map(_varint, integers))


def _varint(value: int) -> int:
    """Bytes of an integer in protobuf: seven bits a byte, negative ones as if of 64 bits."""
    return -(-max((value % 2**64).bit_length(), 1) // 7)
