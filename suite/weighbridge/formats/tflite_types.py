"""The number types of a `.tflite`, and the bytes of a buffer as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weighbridge.core.codes import numpy_dtype, unpack_codes

if TYPE_CHECKING:
    from weighbridge.contracts import Array

# TensorType of the schema -> name, numpy or ml_dtypes name, bits a number. Types that no weight has are
# absent.
TYPES = {
    0: ("float32", "float32", 32),
    1: ("float16", "float16", 16),
    2: ("int32", "int32", 32),
    3: ("uint8", "uint8", 8),
    4: ("int64", "int64", 64),
    7: ("int16", "int16", 16),
    9: ("int8", "int8", 8),
    10: ("float64", "float64", 64),
    17: ("int4", "int8", 4),
    18: ("bfloat16", "bfloat16", 16),
    19: ("int2", "int8", 2),
    20: ("uint4", "uint8", 4),
    21: ("float8_e4m3fn", "float8_e4m3fn", 8),
    22: ("float8_e5m2", "float8_e5m2", 8),
}


def unpack(data: Array, storage: str, bits: int, count: int | None, name: str) -> Array:
    """`count` numbers (all that the bytes hold, without one), sub-byte ones low bits first."""
    import numpy as np

    dtype = numpy_dtype(storage)
    if count is not None and len(data) != -(-count * bits // 8):
        raise ValueError(
            f"tensor '{name}' has {len(data)} bytes; {count} numbers of {bits} bits need another number"
        )
    if bits >= 8:
        return data.view(np.uint8).view(dtype) if data.flags.c_contiguous else data.copy().view(dtype)
    return unpack_codes(data, bits, dtype.kind == "i")[:count]


def product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        if size < 0:
            raise ValueError(f"negative size in shape {shape}")
        total *= size
    return total
