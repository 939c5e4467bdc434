"""Codes as bytes: dense packing of narrow integers, and the 2:4 sparse layout."""

from __future__ import annotations

import numpy as np

from weighbridge.core.codes import numpy_dtype, unpack_codes
from weighbridge.numerics.elements import Array, Float
from weighbridge.numerics.schemes import Scheme


def packed_size(count: int, bits: int) -> int:
    """Bytes for `count` codes of `bits` each: the last byte may be partly empty."""
    return -(-count * bits // 8)


def pack(codes: Array, scheme: Scheme) -> Array:
    """Codes of any shape as uint8, in row-major order, the first code in the lowest bits.

    This is ONNX's layout of int4 and int2 (TensorProto.raw_data: two or four to a byte, first in the low bits) and
    little-endian storage of whole bytes. Negative codes are two's complement. Reduced floats are their bit
    patterns.
    """
    if isinstance(scheme.type, Float):
        return np.frombuffer(
            np.ascontiguousarray(codes.astype(numpy_dtype(scheme.type.ml_dtype))).tobytes(), np.uint8
        )
    bits = scheme.bits
    patterns = codes.astype(np.int64).ravel() & (2**bits - 1)
    stream = (patterns[:, None] >> np.arange(bits)) & 1
    return np.packbits(stream.astype(np.uint8).ravel(), bitorder="little")


def unpack(packed: Array, shape: tuple[int, ...], scheme: Scheme) -> Array:
    """The codes that `pack` was given, int64 (float32 for a float element)."""
    if isinstance(scheme.type, Float):
        narrow = np.frombuffer(packed.tobytes(), numpy_dtype(scheme.type.ml_dtype))
        return narrow.astype(np.float32).reshape(shape)
    bits, count = scheme.bits, int(np.prod(shape))
    codes = unpack_codes(packed, bits, scheme.type.signed)[:count]
    return codes.astype(np.int64).reshape(shape)


def keep_2_4(x: Array) -> Array:
    """`x` with the two smallest of every four neighbours along the last axis (a multiple of 4) set to zero.

    The sparsity that NVIDIA's Ampere introduced ("Accelerating Sparse Deep Neural Networks", arXiv:2104.08378).
    """
    fours = x.reshape(-1, 4)
    order = np.argsort(np.abs(fours), axis=1, kind="stable")
    kept = fours.copy()
    np.put_along_axis(kept, order[:, :2], 0, axis=1)
    return kept.reshape(x.shape)


def pack_2_4(codes: Array, scheme: Scheme) -> tuple[Array, Array]:
    """Codes of a 2:4 sparse tensor as (two codes of every four, their two 2-bit positions), each packed.

    Raises `ValueError` where more than two of four are not zero, since the rest would be lost.
    """
    fours = codes.reshape(-1, 4)
    if (np.count_nonzero(fours, axis=1) > 2).any():
        raise ValueError("not 2:4 sparse: more than two of four neighbours are not zero")
    # Nonzeros first, in their order; zeros fill up.
    positions = np.sort(np.argsort(fours == 0, axis=1, kind="stable")[:, :2], axis=1)
    kept = np.take_along_axis(fours, positions, axis=1)
    return pack(kept, scheme), pack(positions, Scheme("uint2"))


def unpack_2_4(packed: tuple[Array, Array], shape: tuple[int, ...], scheme: Scheme) -> Array:
    """The codes that `pack_2_4` was given."""
    fours = int(np.prod(shape)) // 4
    kept = unpack(packed[0], (fours, 2), scheme)
    positions = unpack(packed[1], (fours, 2), Scheme("uint2"))
    whole = np.zeros((fours, 4), kept.dtype)
    np.put_along_axis(whole, positions, kept, axis=1)
    return whole.reshape(shape)
