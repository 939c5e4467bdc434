"""Quantize, dequantize and the choice of parameters, in float64, as the formulas say.

Sources: "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (Jacob et
al., arXiv:1712.05877, equations 1 and 12); ONNX QuantizeLinear and DequantizeLinear (opset 25) for the order of
rounding, zero point and saturation; ONNX DynamicQuantizeLinear (opset 11) for the affine parameters.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from weighbridge.numerics.elements import Array, Float, Integer, round_half
from weighbridge.numerics.schemes import Parameters, Scheme

SMALLEST_SCALE = 2.0**-126
"""The smallest normal float32: below it a scale loses bits and its reciprocal overflows."""

Quotient = Literal["exact", "float32"]
"""How x / scale is computed: in float64, or rounded to float32 as ONNX specifies for a float32 scale."""


def quantize(x: Array, parameters: Parameters, scheme: Scheme, quotient: Quotient = "exact") -> Array:
    """The codes of `x`: saturate(round(x / scale) + zero_point), int64 (float32 for a float element).

    Raises `ValueError` on NaN where the element cannot hold it. Infinities saturate, or stay what they are in a
    float that has them and does not saturate.
    """
    scale, zero_point = parameters.spread(x.shape, scheme)
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = x.astype(np.float64) / scale
        if quotient == "float32":
            ratio = ratio.astype(np.float32).astype(np.float64)
    if isinstance(scheme.type, Integer):
        if np.isnan(ratio).any():
            raise ValueError("NaN has no integer code")
        whole = scheme.type.round(ratio, scheme.rounding) + zero_point
        codes: Array = np.clip(whole, scheme.lowest, scheme.highest).astype(np.int64)
        return codes
    return _reduce(ratio, scheme.type, scheme)


def dequantize(codes: Array, parameters: Parameters, scheme: Scheme) -> Array:
    """`(code - zero_point) * scale` in float64."""
    scale, zero_point = parameters.spread(codes.shape, scheme)
    with np.errstate(invalid="ignore"):
        values: Array = (codes.astype(np.float64) - zero_point) * scale
    return values


def choose(x: Array, scheme: Scheme, smallest_scale: float = SMALLEST_SCALE) -> Parameters:
    """The parameters that spread the codes over the values of each tensor, channel or group.

    Symmetric: scale = 2 * max|x| / (highest - lowest), the zero point in the middle. Affine: the range is widened
    to hold zero, scale = (max - min) / (highest - lowest), zero_point = round(lowest - min / scale). A float
    element: max|x| / highest; a plain cast: 1. No scale is under `smallest_scale`, which is also that of an empty
    or constant-zero channel. Only finite numbers count. Scales are float32, since artifacts store that.
    """
    x = x.astype(np.float64)
    low = _reduced(np.minimum, x, scheme)
    high = _reduced(np.maximum, x, scheme)
    if not scheme.scaled:
        return Parameters(np.ones((), np.float32), np.zeros((), np.int64))
    if isinstance(scheme.type, Float):
        return _symmetric(np.maximum(-low, high) / scheme.highest, 0, smallest_scale)
    codes = scheme.highest - scheme.lowest
    if scheme.symmetric:
        return _symmetric(2 * np.maximum(-low, high) / codes, scheme.middle, smallest_scale)
    scale = _storable((high - low) / codes, smallest_scale)
    zero_point = round_half(unrounded_zero_point(x, scale, scheme), "half_even")
    return Parameters(scale, np.clip(zero_point, scheme.lowest, scheme.highest).astype(np.int64))


def unrounded_zero_point(x: Array, scale: Array, scheme: Scheme) -> Array:
    """lowest - min / scale of each tensor, channel or group, where min is at most zero."""
    low = _reduced(np.minimum, x.astype(np.float64), scheme)
    exact: Array = scheme.lowest - low / scale.astype(np.float64)
    return exact


def range_of(parameters: Parameters, scheme: Scheme, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The lowest and highest value that can be represented, broadcastable against a tensor of `shape`."""
    scale, zero_point = parameters.spread(shape, scheme)
    return (scheme.lowest - zero_point) * scale, (scheme.highest - zero_point) * scale


def _reduce(ratio: Array, element: Float, scheme: Scheme) -> Array:
    """Ratios to a reduced float; exact in float32."""
    codes = element.round(ratio, scheme.rounding)
    # Rounding has gone to a number past the largest: it is out of range, and so are infinities.
    if scheme.saturate:
        codes = np.clip(codes, element.lowest, element.highest)  # keeps NaN
    else:
        codes = np.where(np.abs(codes) > element.highest, np.copysign(element.beyond, codes), codes)
    return codes.astype(np.float32)


def _symmetric(scale: Array, middle: int, smallest_scale: float) -> Parameters:
    return Parameters(_storable(scale, smallest_scale), np.full(np.shape(scale), middle, np.int64))


def _storable(scale: Array, smallest: float) -> Array:
    return np.maximum(np.asarray(scale, np.float64), smallest).astype(np.float32)


def _reduced(extreme: Any, x: Array, scheme: Scheme) -> Array:
    """The extreme of the finite numbers and zero, per tensor, channel or group."""
    x = np.where(np.isfinite(x), x, 0.0)
    if scheme.axis is None:
        return np.asarray(extreme.reduce(x, axis=None, initial=0.0))
    if scheme.group_size is None:
        rest = tuple(i for i in range(x.ndim) if i != scheme.axis % x.ndim)
        return np.asarray(extreme.reduce(x, axis=rest, initial=0.0))
    x = np.moveaxis(x, scheme.axis, -1)
    short = -x.shape[-1] % scheme.group_size
    x = np.concatenate([x, np.zeros((*x.shape[:-1], short))], axis=-1)
    grouped = x.reshape(*x.shape[:-1], x.shape[-1] // scheme.group_size, scheme.group_size)
    return np.moveaxis(extreme.reduce(grouped, axis=-1, initial=0.0), -1, scheme.axis)
