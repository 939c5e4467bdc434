"""The casts of ml_dtypes, with which onnx and TensorFlow make their reduced floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from weighbridge.contracts import Requirement
from weighbridge.numerics.elements import Array, Integer
from weighbridge.numerics.quantizer import QUANTIZERS, KnownDifference
from weighbridge.numerics.reference import SMALLEST_SCALE, Quotient
from weighbridge.numerics.schemes import Parameters, Scheme


class MlDtypesCast:
    """`array.astype(ml_dtypes.…)`; numpy's own float16."""

    name = "ml_dtypes_cast"
    engines = ("quantize:float16@onnxruntime", "quantize:bfloat16@onnxruntime")
    requires = (Requirement("package", "ml_dtypes", "pip install ml_dtypes"),)
    nan: Literal["refused", "kept"] = "kept"
    bit_exact: Quotient | None = "exact"
    smallest_scale = SMALLEST_SCALE
    known: Sequence[KnownDifference] = ()

    def supports(self, scheme: Scheme) -> bool:
        cast = not (scheme.scaled or scheme.saturate or isinstance(scheme.type, Integer))
        return cast and scheme.rounding == "half_even"

    def accepts(self, scheme: Scheme, shape: tuple[int, ...]) -> bool:
        return True

    def quantize(self, x: Array, parameters: Parameters, scheme: Scheme) -> Array:
        import ml_dtypes

        narrow: Array = x.astype(getattr(ml_dtypes, scheme.element, np.float16)).astype(np.float32)
        return narrow

    def dequantize(self, codes: Array, parameters: Parameters, scheme: Scheme) -> Array:
        return codes


_quantizer = MlDtypesCast()
QUANTIZERS.add(_quantizer.name, _quantizer)
