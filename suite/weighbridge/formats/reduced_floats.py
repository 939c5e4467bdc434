"""Floats of fewer than 32 bits are a quantization of their own: fewer bits, and no scale."""

from __future__ import annotations

from weighbridge.contracts import Quantization


def reduced_float(dtype: str, bits: int) -> Quantization:
    """Of a tensor that is stored as `dtype` (`float16`, `bfloat16`, `float8_e4m3fn`, ...), `bits` a number."""
    import numpy as np

    return Quantization(bits, np.ones((), np.float32), np.zeros((), np.int32), scheme=dtype)
