"""Stored codes as numbers: what a quantized weight of an artifact is worth, and how many are not zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from weighbridge.contracts import Quantization, StoredTensor

Array = NDArray[Any]

_EXACT_IN_FLOAT32 = 16
"""Codes of up to 16 bits, less their zero point, are exact in float32; wider ones (int32 biases) are not."""


def spread(parameter: Array, shape: tuple[int, ...], axis: int | None, group_size: int | None) -> Array:
    """A scale or zero point in a shape that broadcasts against a tensor of `shape`.

    `parameter` is 0-d or of one element (per-tensor), of shape [shape[axis]] (per-channel), or `shape` with
    ceil(shape[axis] / group_size) groups along `axis` (per-group; the last group may be short). A per-group
    `axis` of None means the last one. Raises `ValueError` where the sizes do not fit.
    """
    parameter = np.asarray(parameter)
    if group_size is not None:
        axis = -1 if axis is None else axis
        groups = list(shape)
        groups[axis] = -(-shape[axis] // group_size)
        whole = np.repeat(parameter.reshape(groups), group_size, axis=axis)
        return np.take(whole, range(shape[axis]), axis=axis)
    if parameter.size == 1 and (axis is None or shape[axis] != 1):
        return parameter.reshape(())
    if axis is None or parameter.size != shape[axis]:
        raise ValueError(f"{parameter.size} scales do not fit a tensor of shape {shape} along axis {axis}")
    along = [1] * len(shape)
    along[axis] = parameter.size
    return parameter.reshape(along)


def granularity(
    quantization: Quantization, shape: tuple[int, ...]
) -> Literal["per_tensor", "per_channel", "per_group"]:
    """Groups as long as their axis are none: the other axes have a scale each."""
    if quantization.group_size is not None:
        axis = -1 if quantization.axis is None else quantization.axis
        return "per_group" if quantization.group_size < shape[axis] else "per_channel"
    return "per_tensor" if quantization.axis is None else "per_channel"


def dequantize_stored(stored: StoredTensor) -> Array:
    """The values that `stored` stands for: `(code - zero_point) * scale`, float32 (float64 above 16 bits).

    A tensor that is not quantized is returned as it is, reduced floats widened to float32.
    """
    quantization = stored.quantization
    if quantization is None:
        return stored.array if stored.array.dtype.kind in "biufc" else stored.array.astype(np.float32)
    codes, scale, zero_point = _parts(stored.array, quantization)
    wide = np.float32 if quantization.bits <= _EXACT_IN_FLOAT32 else np.float64
    values: Array = (codes.astype(wide) - zero_point.astype(wide)) * scale.astype(wide)
    return values


def count_nonzero(stored: StoredTensor) -> int:
    """How many values are not zero. A code equal to its zero point is a zero, so is -0.0; NaN is not."""
    if stored.quantization is None:
        return int(np.count_nonzero(dequantize_stored(stored)))
    codes, scale, zero_point = _parts(stored.array, stored.quantization)
    return int(np.count_nonzero((codes != zero_point) & (scale != 0)))


def _parts(array: Array, quantization: Quantization) -> tuple[Array, Array, Array]:
    """Codes (as numbers one can calculate with), scale and zero point, ready to broadcast."""
    codes = array if quantization.scheme == "affine" else _reduced_floats(array, quantization.scheme)
    codes = codes if codes.dtype.kind in "iuf" else codes.astype(np.int8)
    scale, zero_point = (
        spread(parameter, array.shape, quantization.axis, quantization.group_size)
        for parameter in (quantization.scale, quantization.zero_point)
    )
    # Unsigned codes would wrap in comparisons and differences with a negative zero point.
    return codes if codes.dtype.kind == "f" else codes.astype(np.int64), scale, zero_point


def _reduced_floats(array: Array, scheme: str) -> Array:
    """float8, bfloat16 or float16 as float32; an integer array is taken for the bit patterns."""
    import ml_dtypes

    narrow = np.dtype(np.float16) if scheme == "float16" else np.dtype(getattr(ml_dtypes, scheme))
    if array.dtype.kind in "iu":
        array = np.ascontiguousarray(array).view(narrow)
    return array.astype(np.float32)
