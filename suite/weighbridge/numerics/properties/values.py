"""Properties of the round trip: zero, sign, order, error."""

from __future__ import annotations

import numpy as np

from weighbridge.numerics.properties.base import as_codes, chosen, property_, require
from weighbridge.numerics.trial import SUBNORMAL, UNIT, Trial


@property_()
def idempotent(trial: Trial) -> None:
    """q(dq(q(x))) = q(x) wherever the value is a finite float32: ratio and code then differ by far under 1/2."""
    values = trial.values.astype(np.float32)
    finite = np.isfinite(values)
    again = trial.quantize(np.where(finite, values, np.float32(0)))
    require(~finite | (again == trial.codes), trial, "a second round trip gives another code")


@property_(lambda trial: trial.scheme.saturate)
def monotone(trial: Trial) -> None:
    """A larger number never gets a smaller code."""
    for step in (0.01, 0.5, 1.0, 7.0):
        larger = np.minimum(trial.x.astype(np.float64) + step * trial.scale, 2.0**127).astype(np.float32)
        require(trial.quantize(larger) >= trial.codes, trial, f"{step} scales more give a smaller code")


@property_()
def zero_is_exact(trial: Trial) -> None:
    """0.0 and -0.0 get the zero point as code and zero as value: padding and pruned weights stay zero."""
    for zero in (0.0, -0.0):
        codes = trial.quantize(np.full(trial.x.shape, zero, np.float32))
        require(codes == trial.zero_point, trial, f"{zero} does not get the zero point as code")
        values = np.asarray(
            trial.quantizer.dequantize(as_codes(codes, trial), trial.parameters, trial.scheme)
        )
        require(values == 0, trial, f"{zero} does not come back as zero")


@property_(lambda trial: trial.scheme.symmetric)
def sign_symmetric(trial: Trial) -> None:
    """q(-x) mirrors q(x) about the zero point, except at the extreme codes and within the slack of a tie."""
    mirrored = 2 * trial.zero_point - trial.quantize(-trial.x)
    ends = [trial.scheme.lowest, trial.scheme.highest]
    both = ~(np.isin(trial.codes, ends) | np.isin(2 * trial.zero_point - mirrored, ends))
    same = (mirrored == trial.codes) | (np.isnan(mirrored) & np.isnan(trial.codes))
    require(~both | same | trial.near_tie, trial, "-x does not get the mirrored code")


@property_()
def dequantizes_exactly(trial: Trial) -> None:
    """dq(code) = (code - zero_point) * scale within 2u of itself, for the codes of x and for the extreme ones."""
    extremes = np.resize(np.array([trial.scheme.lowest, trial.scheme.highest]), trial.x.shape)
    for codes in (trial.codes, extremes):
        wanted = (codes - trial.zero_point) * trial.scale
        got = np.asarray(trial.quantizer.dequantize(as_codes(codes, trial), trial.parameters, trial.scheme))
        off = np.abs(got.astype(np.float64) - wanted)
        held = np.abs(wanted) <= float(np.finfo(np.float32).max)  # the others overflow, as they should
        close = off <= 2 * UNIT * np.abs(wanted) + SUBNORMAL
        require(close | ~held | ~np.isfinite(codes), trial, "the value is not (code - zero_point) * scale")


@property_()
def error_within_half_step(trial: Trial) -> None:
    """|x - dq(q(x))| <= scale * spacing / 2 inside the range, plus the slack and the roundings of the value.

    With parameters that the quantizer chose the bound holds for all of x: an affine range is shifted by at most
    half a step when its zero point is rounded, and what it cuts off at one end is no more than that.
    """
    half = trial.scheme.type.spacing(trial.ratio) / 2
    limit = trial.scale * (half + trial.slack) + 2 * UNIT * np.abs(trial.x) + SUBNORMAL
    promised = np.ones(trial.x.shape, bool) if chosen(trial) and not trial.plain_cast else trial.inside
    off = np.abs(trial.x - trial.values)
    require(~promised | (off <= limit), trial, "the value is more than half a step away")
