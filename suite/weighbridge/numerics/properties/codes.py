"""Properties of the codes: in range, nearest, saturating, blind to memory layout and to order."""

from __future__ import annotations

import numpy as np

from weighbridge.numerics import reference
from weighbridge.numerics.elements import Integer
from weighbridge.numerics.properties.base import Broken, extreme_codes, property_, require, require_equal
from weighbridge.numerics.trial import Trial


@property_()
def shape_is_kept(trial: Trial) -> None:
    """One code and one value a number, empty and 0-d tensors included; integer codes are whole."""
    for what, result in (("codes", trial.codes), ("values", trial.values)):
        if result.shape != trial.x.shape:
            raise Broken(f"{what} have shape {result.shape}, not {trial.x.shape}")
    if isinstance(trial.scheme.type, Integer):
        require(trial.codes == np.rint(trial.codes), trial, "the code is no whole number")


@property_()
def input_is_left_alone(trial: Trial) -> None:
    """Quantizing does not write into the tensor it was given."""
    before = trial.x.copy()
    trial.chosen_for(trial.x)
    trial.quantize(trial.x)
    # Bit patterns, so that -0.0 turned into 0.0 is seen.
    same = before.view(np.uint32) == np.ascontiguousarray(trial.x).reshape(before.shape).view(np.uint32)
    touched = trial.x.copy()
    trial.x[...] = before
    require(same, trial, f"the input was changed to {touched[~same][:1]}")


@property_()
def repeats_itself(trial: Trial) -> None:
    """The same tensor gives the same codes."""
    require_equal(trial.quantize(trial.x), trial.codes, trial, "a second run gave another code")


@property_(lambda trial: trial.x.ndim > 0)
def layout_is_irrelevant(trial: Trial) -> None:
    """Strides and byte order in memory do not matter: column-major and every-other views give the same codes."""
    wide = np.repeat(trial.x, 2, axis=-1)[..., ::2]
    for kind, view in (
        ("contiguous", np.ascontiguousarray(trial.x)),
        ("column-major", np.asfortranarray(trial.x)),
        ("strided", wide),
    ):
        got = trial.quantize(view)
        require_equal(got, trial.codes, trial, f"another code in {kind} memory")


@property_()
def codes_stay_in_range(trial: Trial) -> None:
    """lowest <= code <= highest; a reduced float is a number of its type, or what overflow is promised to give."""
    low, high, codes = trial.scheme.lowest, trial.scheme.highest, trial.codes
    kept = (codes >= low) & (codes <= high)
    if not trial.scheme.saturate:
        kept |= ~np.isfinite(codes)
    require(kept, trial, f"the code is outside [{low:g}, {high:g}]")
    on_grid = trial.scheme.type.round(codes, "half_even") == codes
    require(on_grid | ~np.isfinite(codes), trial, "no number of the element type")


@property_()
def nearest_code(trial: Trial) -> None:
    """Inside the range, |x / scale - (code - zero_point)| <= spacing / 2 + slack: rounding is to nearest.

    `spacing` is 1 for integers and the gap between neighbouring floats otherwise; the slack is that of the ratio.
    """
    off = np.abs(trial.ratio - (trial.codes - trial.zero_point))
    limit = trial.scheme.type.spacing(trial.ratio) / 2 + trial.slack
    require(~trial.inside | (off <= limit), trial, "not the nearest code")


@property_()
def ties_round_as_named(trial: Trial) -> None:
    """A ratio halfway between two codes goes where the scheme's rounding says.

    Looked at where the scale is a power of two, so that float32 division and reciprocal alike are exact.
    """
    mantissa, _ = np.frexp(trial.scale)
    spacing = trial.scheme.type.spacing(trial.ratio)
    steps = np.where(trial.inside, trial.ratio / spacing, 0.0)
    tie = (np.abs(steps - np.trunc(steps)) == 0.5) & (mantissa == 0.5) & trial.inside
    wanted = trial.scheme.type.round(trial.ratio, trial.scheme.rounding) + trial.zero_point
    wanted = np.clip(wanted, trial.scheme.lowest, trial.scheme.highest)
    require(~tie | (trial.codes == wanted), trial, f"a tie that is not rounded {trial.scheme.rounding}")


@property_(lambda trial: trial.quantizer.bit_exact is not None)
def matches_the_reference(trial: Trial) -> None:
    """The codes are the reference's to the bit, in the arithmetic that the quantizer names."""
    quotient = trial.quantizer.bit_exact or "exact"
    wanted = reference.quantize(trial.x, trial.parameters, trial.scheme, quotient)
    require_equal(trial.codes, wanted.astype(np.float64), trial, "not the reference's code")


@property_()
def saturates_outside(trial: Trial) -> None:
    """Past the range by more than half a step and the slack, the code is the extreme one on the same side.

    Floats that do not saturate give infinity, or NaN where they have none.
    """
    for factor in (1.5, 1e3):
        _extreme_beyond(trial, factor)


@property_()
def saturates_far_outside(trial: Trial) -> None:
    """The same where x / scale exceeds 32 and 64 bits: the clamp comes before any conversion to an integer."""
    for factor in (1e12, 1e24):
        _extreme_beyond(trial, factor)


def _extreme_beyond(trial: Trial, factor: float) -> None:
    low, high = reference.range_of(trial.parameters, trial.scheme, trial.x.shape)
    limit = 2.0**126
    below, above = (
        np.clip(edge * factor + sign * 2 * trial.scale, -limit, limit)
        for edge, sign in ((low, -1), (high, 1))
    )
    alternate = np.resize(np.array([True, False]), trial.x.shape)
    x = np.where(alternate, below, above).astype(np.float32)
    ratio = x / trial.scale + trial.zero_point
    margin = 0.5 * trial.scheme.type.spacing(np.asarray(trial.scheme.highest)) + 1e-3 * np.abs(ratio)
    outside = np.where(alternate, ratio < trial.scheme.lowest - margin, ratio > trial.scheme.highest + margin)
    wanted = np.where(alternate, *extreme_codes(trial))
    got = trial.quantize(x)
    good = ~outside | (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    require(good, trial, f"numbers {factor:g} times past the range do not get the extreme code")


@property_()
def infinities_saturate(trial: Trial) -> None:
    """Plus and minus infinity get the extreme codes, or stay infinite (NaN) in floats that do not saturate."""
    alternate = np.resize(np.array([True, False]), trial.x.shape)
    got = trial.quantize(np.where(alternate, np.float32(-np.inf), np.float32(np.inf)).astype(np.float32))
    wanted = np.where(alternate, *extreme_codes(trial))
    good = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    require(good, trial, "an infinity here does not get the extreme code")


@property_(lambda trial: trial.x.size > 0)
def nan_is_never_a_number(trial: Trial) -> None:
    """NaN raises `ValueError` where the contract refuses it, and is a NaN code and value where it keeps it."""
    for index in {tuple(0 for _ in trial.x.shape), tuple(side - 1 for side in trial.x.shape)}:
        x = trial.x.copy()
        x[index] = np.nan
        try:
            codes = np.asarray(trial.quantizer.quantize(x, trial.parameters, trial.scheme))
        except ValueError:
            if trial.quantizer.nan == "kept":
                raise
            continue
        value = np.asarray(trial.quantizer.dequantize(codes, trial.parameters, trial.scheme))[index]
        if trial.quantizer.nan == "refused" or not np.isnan(value):
            raise Broken(f"NaN at {index} became code {codes[index]!s}, value {value!s}")
