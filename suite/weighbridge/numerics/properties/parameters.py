"""Properties of scales and zero points: the granularity asked for, the reference's formula, no cross-talk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from weighbridge.numerics import reference
from weighbridge.numerics.properties.base import Broken, chosen, property_, require, require_equal
from weighbridge.numerics.schemes import Parameters
from weighbridge.numerics.trial import UNIT, Trial


@property_(chosen)
def parameters_fit_the_scheme(trial: Trial) -> None:
    """One scale a tensor, channel or group as asked; scales are positive and finite; zero points are codes.

    A symmetric scheme has its zero point in the middle of the codes.
    """
    shape = trial.scheme.parameter_shape(trial.x.shape)
    scale, zero_point = trial.parameters.scale, trial.parameters.zero_point
    if scale.shape != shape or zero_point.shape != shape:
        raise Broken(
            f"asked for {trial.scheme.granularity}, parameters of shape {shape}; got {scale.shape} "
            f"and {zero_point.shape}"
        )
    if not np.all(np.isfinite(scale) & (scale > 0)):
        raise Broken(f"a scale is not positive and finite: {scale}")
    whole = (zero_point == np.rint(zero_point)) & (zero_point >= trial.scheme.lowest)
    if not np.all(whole & (zero_point <= trial.scheme.highest)):
        raise Broken(f"a zero point is no code: {zero_point}")
    if trial.scheme.symmetric and not np.all(zero_point == trial.scheme.middle):
        raise Broken(f"asked for symmetric, got zero points {zero_point}")


@property_(chosen)
def parameters_match_the_reference(trial: Trial) -> None:
    """The scale is the formula's within 4u (difference, quotient, two for a factor), the zero point the nearest."""
    wanted = reference.choose(trial.x, trial.scheme, trial.quantizer.smallest_scale)
    got = trial.parameters
    if got.scale.shape != wanted.scale.shape:
        raise Broken(f"scales of shape {got.scale.shape}")
    expected = wanted.scale.astype(np.float64)
    if not np.all(np.abs(got.scale - expected) <= 4 * UNIT * expected):
        raise Broken(f"scale {got.scale.tolist()}, not {wanted.scale.tolist()}")
    if not trial.scheme.symmetric:
        exact = reference.unrounded_zero_point(trial.x, got.scale, trial.scheme)
        exact = np.clip(exact, trial.scheme.lowest, trial.scheme.highest)
        room = 0.5 + 4 * UNIT * (np.abs(exact) + 2 * trial.scheme.highest)
        if not np.all(np.abs(got.zero_point - exact) <= room):
            raise Broken(f"zero point {got.zero_point.tolist()}, not {wanted.zero_point.tolist()}")


@property_(lambda trial: trial.x.ndim > 0)
def order_is_irrelevant(trial: Trial) -> None:
    """Rolling the channels (any axis that groups do not run along) rolls parameters and codes with them."""
    for axis in range(trial.x.ndim):
        if trial.scheme.group_size is not None and axis == trial.scheme.axis % trial.x.ndim:  # type: ignore[operator]
            continue
        rolled = Trial(trial.quantizer, trial.scheme, np.roll(trial.x, 1, axis), _rolled(trial, axis))
        require_equal(
            rolled.codes,
            np.roll(trial.codes, 1, axis),
            trial,
            f"after rolling axis {axis} by one, another code",
        )


@property_(lambda trial: chosen(trial) and trial.scheme.axis is not None and trial.x.size > 0)
def channels_are_independent(trial: Trial) -> None:
    """A thousandfold first channel (or group) leaves the codes of all others as they were."""
    axis = trial.scheme.axis or 0
    first = [slice(None)] * trial.x.ndim
    first[axis] = slice(0, trial.scheme.group_size or 1)
    x = trial.x.copy()
    x[tuple(first)] = np.clip(x[tuple(first)].astype(np.float64) * 1000 + 1, -(2.0**120), 2.0**120)
    other = np.ones(x.shape, bool)
    other[tuple(first)] = False
    codes = Trial(trial.quantizer, trial.scheme, x).codes
    require(
        ~other | (codes == trial.codes),
        trial,
        f"asked for {trial.scheme.granularity}, but another channel's numbers change this code",
    )


@property_(lambda trial: not trial.plain_cast and trial.x.size > 0)
def power_of_two_scales(trial: Trial) -> None:
    """x * 2**k has the codes of x and 2**k times its scale, as long as nothing leaves the range of float32."""
    size = np.abs(trial.x[trial.x != 0])
    for k in (3, -3):
        factor = 2.0**k
        scales = trial.scale * min(factor, 1.0)
        if size.size and (size.max() * factor > 2.0**120 or size.min() * factor < 2.0**-126):
            continue
        if np.any(scales <= 2 * trial.quantizer.smallest_scale) or np.any(trial.scale * factor > 2.0**100):
            continue
        drawn = trial.drawn and replace(trial.drawn, scale=(trial.drawn.scale * factor).astype(np.float32))
        scaled = Trial(trial.quantizer, trial.scheme, (trial.x * factor).astype(np.float32), drawn)
        require_equal(scaled.codes, trial.codes, trial, f"another code for x * {factor}")


def _rolled(trial: Trial, axis: int) -> Parameters | None:
    """Drawn parameters after rolling `axis` of the tensor; None where the quantizer chooses anew."""
    if trial.drawn is None or trial.scheme.axis is None:
        return trial.drawn
    if trial.scheme.group_size is None:
        if axis != trial.scheme.axis % trial.x.ndim:
            return trial.drawn
        axis = 0
    return Parameters(np.roll(trial.drawn.scale, 1, axis), np.roll(trial.drawn.zero_point, 1, axis))
