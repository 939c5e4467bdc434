"""Numbers as files store them: codes of a few bits packed into bytes, and the types below float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from weighbridge.core.arrays import Array


def unpack_codes(data: Array, bits: int, signed: bool = False) -> Array:
    """Bytes, uint8 of shape [..., B], as whole numbers of 1 to 16 bits, [..., B * 8 // bits], low bits first.

    (u)int8 where no number crosses the border of a byte, int64 where one may. Bits that are left over are dropped.
    """
    if bits == 8:
        return data.view(np.int8) if signed else data
    if 8 % bits == 0:
        codes = (data[..., None] >> np.arange(0, 8, bits, dtype=np.uint8)) & np.uint8((1 << bits) - 1)
        codes = codes.reshape(*data.shape[:-1], -1)
        return codes if not signed else (codes ^ (1 << (bits - 1))).astype(np.int8) - np.int8(1 << (bits - 1))
    count = data.shape[-1] * 8 // bits
    stream = np.unpackbits(data, axis=-1, count=count * bits, bitorder="little")
    numbers = stream.reshape(*data.shape[:-1], count, bits).astype(np.int64) @ (1 << np.arange(bits))
    return numbers if not signed else (numbers ^ (1 << (bits - 1))) - (1 << (bits - 1))


def is_reduced_float(dtype: str) -> bool:
    """Whether `dtype`, a name of numpy's or ml_dtypes', is a float of fewer than 32 bits."""
    return dtype.startswith(("float16", "bfloat16", "float8", "float4"))


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The dtype of that name; ml_dtypes gives numpy bfloat16 and the floats of 8 bits and fewer."""
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, dtype, dtype))
