"""The number types that codes are made of: integers of 2 to 16 bits and reduced floats.

Everything is computed in float64, where every code, every quotient of float32 numbers that lies on a tie, and
every rounding boundary of these types is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Rounding: TypeAlias = Literal["half_even", "half_away"]
"""What becomes of a tie: the even neighbour (IEEE 754 roundTiesToEven), or the one away from zero."""


def round_half(values: Array, rounding: Rounding) -> Array:
    """`values` as whole numbers in float64, ties as `rounding` says; -0.0 keeps its sign."""
    if rounding == "half_even":
        return np.rint(values)
    # floor(|v| + 0.5) would be wrong where the sum rounds up (0.49999999999999994).
    whole = np.trunc(values)
    with np.errstate(invalid="ignore"):  # infinity stays infinity
        return np.where(np.abs(values - whole) >= 0.5, whole + np.copysign(1.0, values), whole)


@dataclass(frozen=True)
class Integer:
    """Two's complement or unsigned, `bits` wide."""

    bits: int
    signed: bool

    @property
    def lowest(self) -> float:
        return -(2.0 ** (self.bits - 1)) if self.signed else 0.0

    @property
    def highest(self) -> float:
        return 2.0 ** (self.bits - 1) - 1 if self.signed else 2.0**self.bits - 1

    def round(self, values: Array, rounding: Rounding) -> Array:
        """The nearest whole number, not yet clamped."""
        return round_half(values, rounding)

    def spacing(self, values: Array) -> Array:
        """The distance between neighbouring codes around `values`."""
        return np.ones_like(values)


@dataclass(frozen=True)
class Float:
    """A binary float of 1 sign bit and `mantissa` stored bits, with subnormals below 2**`smallest_exponent`.

    `beyond` is what a value past `highest` becomes when it is not saturated: infinity, or NaN in the types that
    have none. Layouts: IEEE 754-2019 (binary16), the bfloat16 of its users, and "FP8 Formats for Deep Learning"
    (arXiv:2209.05433, table 1).
    """

    bits: int
    mantissa: int
    smallest_exponent: int
    highest: float
    beyond: float
    ml_dtype: str
    """The name that the package ml_dtypes (and ONNX, and torch) gives it."""

    signed = True

    @property
    def lowest(self) -> float:
        return -self.highest

    def spacing(self, values: Array) -> Array:
        """The distance between neighbouring codes at the magnitude of `values`."""
        magnitude = np.abs(np.where(np.isfinite(values), values, 0.0))
        _, exponent = np.frexp(magnitude)  # magnitude = m * 2**exponent with m in [0.5, 1)
        exponent = np.where(magnitude == 0, self.smallest_exponent, exponent - 1)
        spacing: Array = np.ldexp(1.0, np.maximum(exponent, self.smallest_exponent) - self.mantissa)
        return spacing

    def round(self, values: Array, rounding: Rounding) -> Array:
        """The nearest number of `mantissa` bits, with an exponent as large as it takes; NaN stays NaN."""
        spacing = self.spacing(values)
        with np.errstate(invalid="ignore"):
            return np.where(np.isfinite(values), round_half(values / spacing, rounding) * spacing, values)


Element: TypeAlias = Integer | Float

ELEMENTS: Mapping[str, Element] = MappingProxyType(
    {f"int{bits}": Integer(bits, signed=True) for bits in (2, 3, 4, 5, 6, 7, 8, 16)}
    | {f"uint{bits}": Integer(bits, signed=False) for bits in (2, 3, 4, 5, 6, 7, 8, 16)}
    | {
        "float8_e4m3fn": Float(8, 3, -6, 448.0, np.nan, "float8_e4m3fn"),
        "float8_e5m2": Float(8, 2, -14, 57344.0, np.inf, "float8_e5m2"),
        "bfloat16": Float(16, 7, -126, float.fromhex("0x1.fep127"), np.inf, "bfloat16"),
        "float16": Float(16, 10, -14, 65504.0, np.inf, "float16"),
    }
)
"""By the name that ONNX and torch use. Integers of 3, 5, 6 and 7 bits are stored in a wider type."""
