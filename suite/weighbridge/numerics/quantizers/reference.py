"""The reference itself, held to its own properties, and the base that other quantizers can build on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from weighbridge.contracts import Requirement
from weighbridge.numerics import packing, reference
from weighbridge.numerics.elements import Array, Float
from weighbridge.numerics.quantizer import QUANTIZERS, KnownDifference
from weighbridge.numerics.reference import Quotient
from weighbridge.numerics.schemes import Parameters, Scheme


class ReferenceQuantizer:
    """Every scheme, in float64: integers refuse NaN, floats keep it."""

    name = "reference"
    engines: tuple[str, ...] = ()
    requires: tuple[Requirement, ...] = ()
    nan: Literal["refused", "kept"] = "refused"
    bit_exact: Quotient | None = "exact"
    smallest_scale = reference.SMALLEST_SCALE
    known: Sequence[KnownDifference] = ()

    def supports(self, scheme: Scheme) -> bool:
        return not isinstance(scheme.type, Float)

    def accepts(self, scheme: Scheme, shape: tuple[int, ...]) -> bool:
        return True

    def choose(self, x: Array, scheme: Scheme) -> Parameters:
        return reference.choose(x, scheme)

    def quantize(self, x: Array, parameters: Parameters, scheme: Scheme) -> Array:
        return reference.quantize(x, parameters, scheme)

    def dequantize(self, codes: Array, parameters: Parameters, scheme: Scheme) -> Array:
        return reference.dequantize(codes, parameters, scheme)

    def pack(self, codes: Array, scheme: Scheme) -> Array:
        return packing.pack(codes, scheme)

    def unpack(self, packed: Array, shape: tuple[int, ...], scheme: Scheme) -> Array:
        return packing.unpack(packed, shape, scheme)

    def pack_2_4(self, codes: Array, scheme: Scheme) -> tuple[Array, Array]:
        return packing.pack_2_4(codes, scheme)

    def unpack_2_4(self, packed: tuple[Array, Array], shape: tuple[int, ...], scheme: Scheme) -> Array:
        return packing.unpack_2_4(packed, shape, scheme)

    def matmul(self, a: Array, b: Array, scheme: Scheme) -> Array:
        product: Array = a.astype(np.int64) @ b.astype(np.int64)
        return product


class ReferenceFloats(ReferenceQuantizer):
    """The reference for reduced floats, which keep NaN."""

    name = "reference_floats"
    nan: Literal["refused", "kept"] = "kept"

    def supports(self, scheme: Scheme) -> bool:
        return isinstance(scheme.type, Float)


QUANTIZERS.add(ReferenceQuantizer.name, ReferenceQuantizer())
QUANTIZERS.add(ReferenceFloats.name, ReferenceFloats())
