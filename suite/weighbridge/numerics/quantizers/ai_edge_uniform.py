"""ai-edge-quantizer's uniform quantization: what `quantize: litert` writes into a `.tflite`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from weighbridge.contracts import Requirement
from weighbridge.numerics.elements import Array, Integer
from weighbridge.numerics.quantizer import QUANTIZERS, KnownDifference
from weighbridge.numerics.reference import SMALLEST_SCALE, Quotient
from weighbridge.numerics.schemes import Parameters, Scheme

VERSION = "ai-edge-quantizer 0.10.0"


class AiEdgeUniform:
    """`uniform_quantize` and `uniform_dequantize`, per-tensor and per-channel."""

    name = "ai_edge_uniform"
    engines: tuple[str, ...] = ("quantize:litert",)
    requires = (Requirement("package", "ai_edge_quantizer", "pip install 'weighbridge[litert]'"),)
    nan: Literal["refused", "kept"] = "refused"
    bit_exact: Quotient | None = None
    smallest_scale = SMALLEST_SCALE
    known: Sequence[KnownDifference] = (
        KnownDifference(
            "nan_is_never_a_number",
            lambda trial: True,
            Scheme("int4"),
            [0.0],
            Parameters(np.ones((), np.float32), np.zeros((), np.int64)),
            "NaN becomes a code",
            VERSION,
        ),
        KnownDifference(
            "ties_round_as_named",
            lambda trial: not trial.scheme.symmetric,
            Scheme("int8", symmetric=False),
            [0.5],
            Parameters(np.ones((), np.float32), np.ones((), np.int64)),
            "the zero point is added before rounding, so that ties go to the odd code where it is odd",
            VERSION,
        ),
        *(
            KnownDifference(
                name,
                lambda trial: not trial.scheme.symmetric,
                Scheme("int8", symmetric=False),
                [255.0],
                Parameters(np.ones((), np.float32), np.full((), -128)),
                "code - zero_point is computed in the width of the code and wraps around",
                VERSION,
            )
            for name in ("idempotent", "dequantizes_exactly", "error_within_half_step")
        ),
    )

    def supports(self, scheme: Scheme) -> bool:
        # Symmetric codes of 8 bits and more are narrow by the LiteRT specification, smaller ones are not.
        return (
            isinstance(scheme.type, Integer)
            and scheme.type.signed
            and scheme.bits in (2, 4, 8, 16)
            and scheme.rounding == "half_even"
            and scheme.group_size is None
            and scheme.narrow == (scheme.symmetric and scheme.bits >= 8)
        )

    def accepts(self, scheme: Scheme, shape: tuple[int, ...]) -> bool:
        return len(shape) > 0 and 0 not in shape

    def quantize(self, x: Array, parameters: Parameters, scheme: Scheme) -> Array:
        from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor as uniform

        codes: Array = uniform.uniform_quantize(x, _params(parameters, scheme, x.ndim))
        return codes

    def dequantize(self, codes: Array, parameters: Parameters, scheme: Scheme) -> Array:
        from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor as uniform

        stored = codes.astype(np.int16 if scheme.bits > 8 else np.int8)
        values: Array = uniform.uniform_dequantize(stored, _params(parameters, scheme, codes.ndim))
        return values


def _params(parameters: Parameters, scheme: Scheme, rank: int) -> Any:
    from ai_edge_quantizer import qtyping

    stored = np.int16 if scheme.bits > 8 else np.int8
    along = [1] * rank
    if scheme.axis is not None:
        along[scheme.axis] = -1
    return qtyping.UniformQuantParams(
        num_bits=scheme.bits,
        quantized_dimension=None if scheme.axis is None else scheme.axis % rank,
        scale=parameters.scale.reshape(along),
        zero_point=parameters.zero_point.astype(stored).reshape(along),
        symmetric=scheme.symmetric,
    )


_quantizer = AiEdgeUniform()
QUANTIZERS.add(_quantizer.name, _quantizer)
