"""Quantizers with one bug each. `PLANTED` is the catalogue: a name, the bug, and the schemes it has a say in.

Each is the reference with one method changed, as somebody might have written it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from weighbridge.numerics import reference
from weighbridge.numerics.packing import pack, unpack
from weighbridge.numerics.quantizers.reference import ReferenceFloats, ReferenceQuantizer
from weighbridge.numerics.schemes import Parameters, Scheme

PLANTED: dict[str, ReferenceQuantizer] = {}


def planted(where: Callable[[Scheme], bool], floats: bool = False):
    """Enter a function `bug(quantizer, ...)` as the method whose name its own ends with: `choose__zero_point_off`.

    `where` keeps the schemes that the buggy quantizer offers.
    """

    def enter(bug):
        method, _, name = bug.__name__.partition("__")
        base = ReferenceFloats if floats else ReferenceQuantizer
        members = {
            "name": name,
            method: bug,
            "supports": lambda self, scheme: base.supports(self, scheme) and where(scheme),
            # Without the comparison with the reference, which would catch nearly all of them at once.
            "bit_exact": None,
        }
        PLANTED[name] = type(name, (base,), members)()
        return bug

    return enter


def anything(scheme: Scheme) -> bool:
    return True


def affine(scheme: Scheme) -> bool:
    return not scheme.symmetric


def symmetric(scheme: Scheme) -> bool:
    return scheme.symmetric


def per_channel(scheme: Scheme) -> bool:
    return scheme.axis is not None and scheme.group_size is None


def grouped(scheme: Scheme) -> bool:
    return scheme.group_size is not None


def signed(scheme: Scheme) -> bool:
    return scheme.type.signed


def eight_bits(scheme: Scheme) -> bool:
    return scheme.bits == 8


def sub_byte(scheme: Scheme) -> bool:
    return scheme.bits in (2, 4)


# ------------------------------------------------------------------------------------------- parameters


def with_statistics(x, scheme, low, high):
    """The affine or symmetric formula on other statistics than minimum and maximum."""
    codes = scheme.highest - scheme.lowest
    if scheme.symmetric:
        scale = np.maximum(2 * np.maximum(-low, high) / codes, reference.SMALLEST_SCALE)
        return Parameters(scale.astype(np.float32), np.full(np.shape(scale), scheme.middle, np.int64))
    scale = np.maximum((high - low) / codes, reference.SMALLEST_SCALE).astype(np.float32)
    zero_point = np.clip(np.rint(scheme.lowest - low / scale), scheme.lowest, scheme.highest)
    return Parameters(scale, zero_point.astype(np.int64))


def per_tensor_only(scheme: Scheme) -> bool:
    return scheme.axis is None


@planted(affine)
def choose__zero_point_off_by_one(self, x, scheme):
    right = reference.choose(x, scheme)
    return replace(right, zero_point=np.minimum(right.zero_point + 1, int(scheme.highest)))


@planted(affine)
def choose__zero_point_truncated(self, x, scheme):
    right = reference.choose(x, scheme)
    exact = reference.unrounded_zero_point(x, right.scale, scheme)
    return replace(right, zero_point=np.clip(np.trunc(exact), scheme.lowest, scheme.highest).astype(np.int64))


@planted(lambda scheme: affine(scheme) and per_tensor_only(scheme))
def choose__zero_left_out_of_the_range(self, x, scheme):
    low, high = (x.min(), x.max()) if x.size else (0.0, 0.0)
    scale = np.maximum((np.float64(high) - low) / (scheme.highest - scheme.lowest), reference.SMALLEST_SCALE)
    zero_point = np.rint(np.clip(scheme.lowest - low / scale, -(2.0**31), 2.0**31))
    return Parameters(np.asarray(scale, np.float32), np.asarray(zero_point, np.int64))


@planted(lambda scheme: affine(scheme) and per_tensor_only(scheme))
def choose__swapped_bounds(self, x, scheme):
    x = x.astype(np.float64)
    low, high = min(x.min(initial=0), 0.0), max(x.max(initial=0), 0.0)
    return with_statistics(x, scheme, np.asarray(-high), np.asarray(-low))


@planted(lambda scheme: symmetric(scheme) and per_tensor_only(scheme))
def choose__maximum_without_its_sign(self, x, scheme):
    high = np.asarray(np.maximum(x.astype(np.float64).max(initial=0), 0.0))
    return with_statistics(x, scheme, -high, high)


@planted(per_tensor_only)
def choose__scale_from_the_mean(self, x, scheme):
    mean = np.asarray(2 * np.abs(x.astype(np.float64)).mean() if x.size else 0.0)
    return with_statistics(x, scheme, -mean, mean)


@planted(per_tensor_only)
def choose__outliers_clipped_at_a_percentile(self, x, scheme):
    high = np.asarray(np.percentile(np.abs(x.astype(np.float64)), 90) if x.size else 0.0)
    return with_statistics(x, scheme, -high, high)


@planted(anything)
def choose__one_code_too_many_in_the_divisor(self, x, scheme):
    right = reference.choose(x, scheme)
    codes = scheme.highest - scheme.lowest
    return replace(right, scale=(right.scale * codes / (codes + 1)).astype(np.float32))


@planted(anything)
def choose__scale_kept_in_float16(self, x, scheme):
    right = reference.choose(x, scheme)
    with np.errstate(over="ignore"):
        return replace(right, scale=np.maximum(right.scale.astype(np.float16), 6e-8).astype(np.float32))


@planted(anything)
def choose__scale_of_a_zero_channel_is_zero(self, x, scheme):
    right = reference.choose(x, scheme)
    scale = np.where(right.scale <= reference.SMALLEST_SCALE, 0, right.scale)
    return replace(right, scale=scale.astype(np.float32))


@planted(per_channel)
def choose__wrong_axis(self, x, scheme):
    other = reference.choose(x, replace(scheme, axis=(scheme.axis + 1) % x.ndim))
    wanted = scheme.parameter_shape(x.shape)
    return Parameters(np.resize(other.scale, wanted), np.resize(other.zero_point, wanted))


@planted(lambda scheme: per_channel(scheme) or grouped(scheme))
def choose__per_tensor_passed_off_as_finer(self, x, scheme):
    whole = reference.choose(x, replace(scheme, axis=None, group_size=None))
    wanted = scheme.parameter_shape(x.shape)
    return Parameters(np.broadcast_to(whole.scale, wanted), np.broadcast_to(whole.zero_point, wanted))


@planted(per_channel)
def choose__per_tensor_where_per_channel_was_asked(self, x, scheme):
    return reference.choose(x, replace(scheme, axis=None))


@planted(grouped)
def choose__last_short_group_forgotten(self, x, scheme):
    right = reference.choose(x, scheme)
    scale = np.moveaxis(right.scale.copy(), scheme.axis, -1)
    if x.shape[scheme.axis] % scheme.group_size and scale.shape[-1] > 1:
        scale[..., -1] = scale[..., -2]
    return replace(right, scale=np.moveaxis(scale, -1, scheme.axis))


@planted(grouped)
def choose__groups_interleaved(self, x, scheme):
    moved = np.moveaxis(x, scheme.axis, -1)
    groups = scheme.parameter_shape(x.shape)[scheme.axis]
    order = np.argsort(np.arange(moved.shape[-1]) % max(groups, 1), kind="stable")
    return reference.choose(np.moveaxis(moved[..., order], -1, scheme.axis), scheme)


@planted(lambda scheme: symmetric(scheme) and not scheme.narrow)
def choose__affine_passed_off_as_symmetric(self, x, scheme):
    return reference.choose(x, replace(scheme, symmetric=False))


@planted(lambda scheme: scheme.narrow)
def choose__narrow_range_forgotten(self, x, scheme):
    return reference.choose(x, replace(scheme, narrow=False))


# ------------------------------------------------------------------------------------------------ codes


def unrounded(x, parameters, scheme):
    scale, zero_point = parameters.spread(x.shape, scheme)
    if np.isnan(x).any():
        raise ValueError("NaN")
    return np.clip(x.astype(np.float64) / scale, -1e300, 1e300), zero_point


def clamp(codes, scheme):
    return np.clip(codes, scheme.lowest, scheme.highest).astype(np.int64)


@planted(anything)
def quantize__truncates(self, x, parameters, scheme):
    ratio, zero_point = unrounded(x, parameters, scheme)
    return clamp(np.trunc(ratio) + zero_point, scheme)


@planted(anything)
def quantize__floors(self, x, parameters, scheme):
    ratio, zero_point = unrounded(x, parameters, scheme)
    return clamp(np.floor(ratio) + zero_point, scheme)


@planted(anything)
def quantize__rounds_half_up(self, x, parameters, scheme):
    ratio, zero_point = unrounded(x, parameters, scheme)
    return clamp(np.floor(ratio + 0.5) + zero_point, scheme)


@planted(lambda scheme: scheme.rounding == "half_even")
def quantize__half_away_where_half_even_was_named(self, x, parameters, scheme):
    return reference.quantize(x, parameters, replace(scheme, rounding="half_away"))


@planted(lambda scheme: scheme.rounding == "half_away")
def quantize__half_even_where_half_away_was_named(self, x, parameters, scheme):
    return reference.quantize(x, parameters, replace(scheme, rounding="half_even"))


@planted(anything)
def quantize__rounds_twice(self, x, parameters, scheme):
    ratio, zero_point = unrounded(x, parameters, scheme)
    return clamp(np.rint(np.rint(ratio * 4) / 4) + zero_point, scheme)


@planted(anything)
def quantize__adds_the_zero_point_before_rounding(self, x, parameters, scheme):
    ratio, zero_point = unrounded(x, parameters, scheme)
    return clamp(np.rint(ratio + zero_point), scheme)


@planted(anything)
def quantize__missing_clamp(self, x, parameters, scheme):
    ratio, zero_point = unrounded(x, parameters, scheme)
    return np.clip(np.rint(ratio) + zero_point, -(2.0**62), 2.0**62).astype(np.int64)


@planted(eight_bits)
def quantize__wraps_around(self, x, parameters, scheme):
    ratio, zero_point = unrounded(x, parameters, scheme)
    wide = np.clip(np.rint(ratio) + zero_point, -(2.0**62), 2.0**62).astype(np.int64)
    return wide.astype(np.int8 if scheme.type.signed else np.uint8)


@planted(anything)
def quantize__overflows_32_bits_before_the_clamp(self, x, parameters, scheme):
    ratio, zero_point = unrounded(x, parameters, scheme)
    # What x86's float-to-int conversion gives for numbers that do not fit.
    whole = np.where(np.abs(ratio) < 2.0**31, np.rint(ratio), -(2.0**31))
    return clamp(whole + zero_point, scheme)


@planted(anything)
def quantize__clamps_one_code_early(self, x, parameters, scheme):
    return np.minimum(reference.quantize(x, parameters, scheme), int(scheme.highest) - 1)


@planted(lambda scheme: eight_bits(scheme) and not signed(scheme))
def quantize__clamps_unsigned_codes_as_signed(self, x, parameters, scheme):
    return np.minimum(reference.quantize(x, parameters, scheme), 127)


@planted(lambda scheme: scheme.bits == 16)
def quantize__clamps_16_bits_as_8(self, x, parameters, scheme):
    return np.clip(reference.quantize(x, parameters, scheme), -128, 127)


@planted(lambda scheme: scheme.narrow)
def quantize__emits_the_code_that_narrow_leaves_out(self, x, parameters, scheme):
    return reference.quantize(x, parameters, replace(scheme, narrow=False))


@planted(affine)
def quantize__subtracts_the_zero_point(self, x, parameters, scheme):
    ratio, zero_point = unrounded(x, parameters, scheme)
    return clamp(np.rint(ratio) - zero_point, scheme)


@planted(affine)
def quantize__forgets_the_zero_point(self, x, parameters, scheme):
    ratio, _ = unrounded(x, parameters, scheme)
    return clamp(np.rint(ratio), scheme)


@planted(anything)
def quantize__multiplies_by_the_scale(self, x, parameters, scheme):
    scale, zero_point = parameters.spread(x.shape, scheme)
    if np.isnan(x).any():
        raise ValueError("NaN")
    return clamp(np.rint(x.astype(np.float64) * scale) + zero_point, scheme)


@planted(lambda scheme: scheme.bits >= 8)
def quantize__divides_in_bfloat16(self, x, parameters, scheme):
    import ml_dtypes

    ratio, zero_point = unrounded(x, parameters, scheme)
    return clamp(np.rint(ratio.astype(ml_dtypes.bfloat16).astype(np.float64)) + zero_point, scheme)


@planted(anything)
def quantize__loses_the_sign(self, x, parameters, scheme):
    return reference.quantize(np.abs(x), parameters, scheme)


@planted(anything)
def quantize__nan_becomes_zero(self, x, parameters, scheme):
    return reference.quantize(np.nan_to_num(x, nan=0.0, posinf=np.inf, neginf=-np.inf), parameters, scheme)


@planted(anything)
def quantize__nan_becomes_the_lowest_code(self, x, parameters, scheme):
    return reference.quantize(np.where(np.isnan(x), np.float32(-np.inf), x), parameters, scheme)


@planted(anything)
def quantize__infinity_becomes_the_zero_point(self, x, parameters, scheme):
    return reference.quantize(np.where(np.isinf(x), np.float32(0), x), parameters, scheme)


@planted(anything)
def quantize__flushes_small_numbers_to_zero(self, x, parameters, scheme):
    return reference.quantize(np.where(np.abs(x) < 1e-4, np.float32(0), x), parameters, scheme)


@planted(anything)
def quantize__writes_into_its_input(self, x, parameters, scheme):
    codes = reference.quantize(x, parameters, scheme)
    np.clip(x, -4, 4, out=x)
    return codes


@planted(anything)
def quantize__reads_the_buffer_instead_of_the_view(self, x, parameters, scheme):
    owner = x if x.base is None or x.flags.c_contiguous else x.base
    return reference.quantize(np.resize(owner.ravel(order="K"), x.shape), parameters, scheme)


@planted(anything)
def quantize__dithers(self, x, parameters, scheme):
    ratio, zero_point = unrounded(x, parameters, scheme)
    return clamp(np.floor(ratio + np.random.default_rng().random(x.shape)) + zero_point, scheme)


@planted(lambda scheme: per_channel(scheme) or grouped(scheme))
def quantize__uses_the_first_scale_for_all(self, x, parameters, scheme):
    if parameters.scale.size:
        first = np.full(parameters.scale.shape, parameters.scale.flat[0])
        parameters = replace(parameters, scale=first)
    return reference.quantize(x, parameters, scheme)


@planted(anything)
def quantize__drops_dimensions_of_size_one(self, x, parameters, scheme):
    return np.squeeze(reference.quantize(x, parameters, scheme))


# ----------------------------------------------------------------------------------------------- values


@planted(affine)
def dequantize__forgets_the_zero_point(self, codes, parameters, scheme):
    scale, _ = parameters.spread(codes.shape, scheme)
    return codes * scale


@planted(lambda scheme: eight_bits(scheme) and affine(scheme))
def dequantize__overflows_8_bits_in_the_difference(self, codes, parameters, scheme):
    scale, zero_point = parameters.spread(codes.shape, scheme)
    narrow = np.int8 if scheme.type.signed else np.uint8
    return (codes.astype(narrow) - zero_point.astype(narrow)).astype(narrow) * scale


@planted(per_channel)
def dequantize__uses_the_neighbouring_scale(self, codes, parameters, scheme):
    return reference.dequantize(codes, replace(parameters, scale=np.roll(parameters.scale, 1)), scheme)


@planted(anything)
def dequantize__computes_in_float16(self, codes, parameters, scheme):
    with np.errstate(over="ignore"):
        return reference.dequantize(codes, parameters, scheme).astype(np.float16)


@planted(anything)
def dequantize__takes_the_middle_of_the_step(self, codes, parameters, scheme):
    scale, _ = parameters.spread(codes.shape, scheme)
    return reference.dequantize(codes, parameters, scheme) + scale / 2


# ---------------------------------------------------------------------------------------------- storage


@planted(lambda scheme: sub_byte(scheme) and signed(scheme))
def unpack__sign_lost(self, packed, shape, scheme):
    return unpack(packed, shape, scheme) & (2**scheme.bits - 1)


@planted(lambda scheme: scheme.bits == 4)
def pack__nibbles_swapped(self, codes, scheme):
    packed = pack(codes, scheme)
    return (packed >> 4) | (packed << 4)


@planted(sub_byte)
def pack__last_odd_code_dropped(self, codes, scheme):
    packed = pack(codes, scheme).copy()
    if codes.size * scheme.bits % 8:
        packed[-1] = 0
    return packed


@planted(sub_byte)
def pack__a_byte_a_code(self, codes, scheme):
    spaced = np.zeros(codes.size, np.uint8)
    spaced[: pack(codes, scheme).size] = pack(codes, scheme)
    return spaced


@planted(signed)
def unpack_2_4__positions_forgotten(self, packed, shape, scheme):
    kept = unpack(packed[0], (int(np.prod(shape)) // 4, 2), scheme)
    return np.pad(kept, ((0, 0), (0, 2))).reshape(shape)


@planted(lambda scheme: scheme.bits == 8)
def matmul__accumulates_in_16_bits(self, a, b, scheme):
    return (a.astype(np.int16) @ b.astype(np.int16)).astype(np.int64)


# ---------------------------------------------------------------------------------------------- floats


def saturating(scheme: Scheme) -> bool:
    return scheme.saturate


@planted(anything, floats=True)
def quantize__float_truncates_the_mantissa(self, x, parameters, scheme):
    codes = reference.quantize(x, parameters, scheme)
    scale, _ = parameters.spread(x.shape, scheme)
    over = np.abs(codes) > np.abs(x / scale)
    return np.where(over & np.isfinite(codes), codes - np.sign(codes) * scheme.type.spacing(codes), codes)


@planted(anything, floats=True)
def quantize__float_subnormals_flushed(self, x, parameters, scheme):
    codes = reference.quantize(x, parameters, scheme)
    return np.where(np.abs(codes) < 2.0**scheme.type.smallest_exponent, np.float32(0), codes)


@planted(saturating, floats=True)
def quantize__float_overflows_where_it_should_saturate(self, x, parameters, scheme):
    return reference.quantize(x, parameters, replace(scheme, saturate=False))


@planted(lambda scheme: not scheme.saturate, floats=True)
def quantize__float_saturates_where_it_should_overflow(self, x, parameters, scheme):
    return reference.quantize(x, parameters, replace(scheme, saturate=True))


@planted(anything, floats=True)
def quantize__float_nan_becomes_zero(self, x, parameters, scheme):
    return reference.quantize(np.where(np.isnan(x), np.float32(0), x), parameters, scheme)


@planted(lambda scheme: scheme.element == "float8_e4m3fn", floats=True)
def quantize__e4m3_clipped_as_the_other_e4m3(self, x, parameters, scheme):
    """The variant without NaN tricks ends at 240."""
    return np.clip(reference.quantize(x, parameters, scheme), -240, 240)
