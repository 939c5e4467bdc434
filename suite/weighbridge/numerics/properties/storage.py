"""Properties of codes in bytes and of integer products."""

from __future__ import annotations

import numpy as np

from weighbridge.numerics.elements import Array, Integer
from weighbridge.numerics.packing import keep_2_4, packed_size
from weighbridge.numerics.properties.base import Broken, as_codes, property_, require_equal
from weighbridge.numerics.quantizer import Multiplies, Packs, PacksSparse
from weighbridge.numerics.trial import Trial


def _all_codes(trial: Trial) -> Array:
    """The tensor's shape filled with codes that cross every bit: extremes, neighbours of zero, the zero point."""
    low, high = trial.scheme.lowest, trial.scheme.highest
    return np.resize(np.array([low, high, 0, 1, high - 1, low + 1, trial.scheme.middle]), trial.x.shape)


@property_(lambda trial: isinstance(trial.quantizer, Packs))
def packing_is_lossless(trial: Trial) -> None:
    """unpack(pack(codes)) = codes, for the codes of x and for the extreme ones."""
    assert isinstance(trial.quantizer, Packs)
    codes = [trial.codes]
    if isinstance(trial.scheme.type, Integer):
        codes.append(_all_codes(trial))
    for each in codes:
        packed = trial.quantizer.pack(as_codes(each, trial), trial.scheme)
        back = trial.quantizer.unpack(packed, each.shape, trial.scheme)
        require_equal(back.astype(np.float64), each, trial, "another code comes back")


@property_(lambda trial: isinstance(trial.quantizer, Packs))
def size_is_what_the_bits_say(trial: Trial) -> None:
    """n codes of b bits take ceil(n * b / 8) bytes."""
    assert isinstance(trial.quantizer, Packs)
    packed = trial.quantizer.pack(as_codes(trial.codes, trial), trial.scheme)
    wanted = packed_size(trial.codes.size, trial.scheme.bits)
    if packed.nbytes != wanted:
        raise Broken(
            f"{trial.codes.size} codes of {trial.scheme.bits} bits take {packed.nbytes} bytes, not {wanted}"
        )


def _sparse(trial: Trial) -> bool:
    divisible = trial.x.ndim > 0 and trial.x.shape[-1] % 4 == 0
    signed_integer = isinstance(trial.scheme.type, Integer) and trial.scheme.type.signed
    return (
        isinstance(trial.quantizer, PacksSparse) and divisible and signed_integer and trial.scheme.symmetric
    )


@property_(_sparse)
def sparse_packing_is_lossless(trial: Trial) -> None:
    """A tensor pruned 2:4 comes back from half its codes and 2-bit positions, which take what the bits say."""
    assert isinstance(trial.quantizer, PacksSparse)
    for dense in (trial.codes, _all_codes(trial)):
        codes = as_codes(keep_2_4(dense), trial)
        packed = trial.quantizer.pack_2_4(codes, trial.scheme)
        back = trial.quantizer.unpack_2_4(packed, codes.shape, trial.scheme)
        require_equal(back, codes, trial, "another code comes back from 2:4")
        half = codes.size // 2
        wanted = packed_size(half, trial.scheme.bits) + packed_size(half, 2)
        if sum(part.nbytes for part in packed) != wanted:
            raise Broken(f"2:4 takes another size than {wanted} bytes")


@property_(lambda trial: isinstance(trial.quantizer, Multiplies) and isinstance(trial.scheme.type, Integer))
def products_are_exact(trial: Trial) -> None:
    """The integer product of code matrices is exact: the accumulator is wide enough for the extreme codes.

    At most 128 products of 16-bit codes are added, which 64 bits hold; 8-bit codes need 24.
    """
    assert isinstance(trial.quantizer, Multiplies)
    ends = np.array([trial.scheme.lowest, trial.scheme.lowest, trial.scheme.highest], np.int64)
    for a in (np.resize(trial.codes.astype(np.int64), (2, max(1, trial.x.size))), np.resize(ends, (2, 128))):
        got = trial.quantizer.matmul(a, a.T.copy(), trial.scheme)
        if not np.array_equal(got, a @ a.T):
            raise Broken(f"the product of the codes is {got.tolist()}, not {(a @ a.T).tolist()}")
