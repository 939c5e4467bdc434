"""One quantizer, one scheme, one tensor: what a property looks at."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from weighbridge.numerics import reference
from weighbridge.numerics.elements import Array, Float
from weighbridge.numerics.quantizer import Chooses, Quantizer
from weighbridge.numerics.schemes import Parameters, Scheme

UNIT = 2.0**-24
"""Unit roundoff of float32: a correctly rounded operation is off by at most this part of its result."""

ROUNDINGS = 3
"""Float32 operations before a code is rounded: reciprocal of the scale, product, addition of the zero point.

A float32 division makes one of them. More than these three is a loss that the properties show."""

SUBNORMAL = 2.0**-149
"""The smallest float32: the absolute error of a product that underflows."""


class Trial:
    """`x` through `quantizer` under `scheme`, with drawn `parameters` or those that the quantizer chooses.

    `x` is finite float32; `layer` is the weight's name when it comes from a model. Results are computed once.
    """

    def __init__(
        self,
        quantizer: Quantizer,
        scheme: Scheme,
        x: Array,
        parameters: Parameters | None = None,
        layer: str = "",
    ) -> None:
        self.quantizer, self.scheme, self.drawn, self.layer = quantizer, scheme, parameters, layer
        self.x = np.asarray(x)  # numpy turns 0-d results into scalars

    def chosen_for(self, x: Array) -> Parameters:
        """The parameters for another tensor: the quantizer's choice, the reference's where it has none."""
        if isinstance(self.quantizer, Chooses):
            return self.quantizer.choose(x, self.scheme)
        return reference.choose(x, self.scheme, self.quantizer.smallest_scale)

    @cached_property
    def parameters(self) -> Parameters:
        return self.drawn or self.chosen_for(self.x)

    @cached_property
    def scale(self) -> Array:
        """Float64, broadcastable against `x`."""
        return self.parameters.spread(self.x.shape, self.scheme)[0]

    @cached_property
    def zero_point(self) -> Array:
        return self.parameters.spread(self.x.shape, self.scheme)[1]

    @cached_property
    def codes(self) -> Array:
        return self.quantize(self.x)

    @cached_property
    def values(self) -> Array:
        return np.asarray(self.quantizer.dequantize(self.codes, self.parameters, self.scheme), np.float64)

    @cached_property
    def ratio(self) -> Array:
        """x / scale in float64: the code before rounding, without the zero point."""
        return self.x.astype(np.float64) / self.scale

    @cached_property
    def slack(self) -> Array:
        """How far, in codes, `ROUNDINGS` float32 operations can move the ratio."""
        return ROUNDINGS * UNIT * (np.abs(self.ratio) + np.abs(self.zero_point))

    @cached_property
    def inside(self) -> Array:
        """Where x lies in the range that the codes span."""
        low, high = self.scheme.lowest - self.zero_point, self.scheme.highest - self.zero_point
        return np.broadcast_to((self.ratio >= low) & (self.ratio <= high), self.x.shape)

    @cached_property
    def near_tie(self) -> Array:
        """Where the slack can carry the ratio across a tie; not on ties that are exact in any arithmetic."""
        spacing = self.scheme.type.spacing(self.ratio)
        steps = np.abs(self.ratio / spacing)
        distance = np.abs(steps - np.trunc(steps) - 0.5)
        exact = (distance == 0) & (np.frexp(self.scale)[0] == 0.5)
        near: Array = (distance <= self.slack / spacing) & ~exact
        return near

    def quantize(self, x: Array) -> Array:
        """Another tensor with this trial's parameters; codes in float64, exact for every element."""
        return np.asarray(self.quantizer.quantize(np.asarray(x), self.parameters, self.scheme), np.float64)

    @property
    def plain_cast(self) -> bool:
        return isinstance(self.scheme.type, Float) and not self.scheme.scaled
