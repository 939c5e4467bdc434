"""Weights of ONNX Runtime's operators that keep several codes a byte, in blocks that share a scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weighbridge.contracts import Quantization
from weighbridge.core.codes import unpack_codes
from weighbridge.formats.onnx_constants import BITS, Constant, width
from weighbridge.formats.onnx_operators import integer

if TYPE_CHECKING:
    from weighbridge.contracts import Array


def unpack(constant: Constant, node: Any, scale: Array, zero: Array | None) -> tuple[Array, Quantization]:
    """Codes, one a number, and their quantization.

    MatMulNBits: [N, K/block, block * bits/8] bytes become [N, K], scales [N, K/block]; GatherBlockQuantized: a table
    whose last axis is packed, scales of the same rank. Low bits come first. Without zero points, codes of uint8 have
    theirs in the middle.
    """
    if node.op_type != "GatherBlockQuantized":
        return _matrix(constant.array(), node, scale, zero)
    array, axis = constant.array(), integer(node, "quantize_axis", 1)
    axis, block = axis % array.ndim, integer(node, "block_size", 128)
    if constant.dtype != "uint8":
        scheme = "affine" if constant.dtype in BITS else constant.dtype
        points = _zeros(scale) if zero is None else zero
        return array, Quantization(
            width(constant.dtype), scale, points, axis, block or array.shape[axis], scheme
        )
    bits = integer(node, "bits", 4)
    points = _points(zero, bits, scale.shape)
    return unpack_codes(array, bits), Quantization(bits, scale, points, axis, block)


def _matrix(array: Array, node: Any, scale: Array, zero: Array | None) -> tuple[Array, Quantization]:
    bits, block, columns = integer(node, "bits", 4), integer(node, "block_size", 128), integer(node, "K", 0)
    groups = -(-columns // block)
    rows = scale.size // groups
    codes = unpack_codes(array.reshape(rows, -1), bits)[:, :columns]
    points = _points(zero, bits, (rows, groups))
    return codes, Quantization(bits, scale.reshape(rows, groups), points, 1, block)


def _points(zero: Array | None, bits: int, shape: tuple[int, ...]) -> Array:
    """Zero points of the scales' shape: packed like the codes where they are uint8."""
    import numpy as np

    if zero is None:
        return np.full(shape, 1 << (bits - 1), np.uint8)
    if zero.dtype == np.uint8:
        return unpack_codes(zero.reshape(*shape[:-1], -1), bits)[..., : shape[-1]]
    return zero.reshape(shape)


def _zeros(scale: Array) -> Array:
    import numpy as np

    return np.zeros(scale.shape, np.int32)
