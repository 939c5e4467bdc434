"""torchao's scaled float8, on which its float8 weights and activations are built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from weighbridge.environment.extras import TORCHAO
from weighbridge.numerics.elements import Array, Float
from weighbridge.numerics.quantizer import QUANTIZERS, KnownDifference
from weighbridge.numerics.quantizers.torchao_affine import block_of, in_blocks
from weighbridge.numerics.reference import Quotient
from weighbridge.numerics.schemes import Parameters, Scheme

if TYPE_CHECKING:
    import torch


class TorchAOFloat8:
    """`_choose_scale_float8`, `_quantize_affine_float8` and `_dequantize_affine_float8`."""

    name = "torchao_float8"
    engines: tuple[str, ...] = ("torchao",)
    requires = (TORCHAO,)
    nan: Literal["refused", "kept"] = "kept"
    bit_exact: Quotient | None = "float32"
    smallest_scale = 2.0**-126
    """Kept by `hp_value_lb`; without it a block of zeros has the scale 0, and its codes are NaN."""
    known: Sequence[KnownDifference] = ()

    def supports(self, scheme: Scheme) -> bool:
        return (
            scheme.element in ("float8_e4m3fn", "float8_e5m2")
            and scheme.rounding == "half_even"
            and scheme.saturate
            and scheme.scaled
        )

    def accepts(self, scheme: Scheme, shape: tuple[int, ...]) -> bool:
        return in_blocks(shape, scheme)

    def choose(self, x: Array, scheme: Scheme) -> Parameters:
        import torch
        from torchao.quantization.quant_primitives import _choose_scale_float8

        assert isinstance(scheme.type, Float)
        scale = _choose_scale_float8(
            torch.from_numpy(x).contiguous(),
            list(block_of(x.shape, scheme)),
            _dtype(scheme),
            hp_value_lb=scheme.type.highest * self.smallest_scale,
        )
        wanted = scheme.parameter_shape(x.shape)
        return Parameters(scale.numpy().reshape(wanted), np.zeros(wanted, np.int64))

    def quantize(self, x: Array, parameters: Parameters, scheme: Scheme) -> Array:
        import torch
        from torchao.quantization.quant_primitives import _quantize_affine_float8

        scale = _scale(parameters, scheme, x.shape)
        codes: Array = _quantize_affine_float8(torch.from_numpy(x), scale, _dtype(scheme)).float().numpy()
        return codes

    def dequantize(self, codes: Array, parameters: Parameters, scheme: Scheme) -> Array:
        import torch
        from torchao.quantization.quant_primitives import _dequantize_affine_float8

        stored = torch.from_numpy(np.ascontiguousarray(codes, np.float32)).to(_dtype(scheme))
        values: Array = _dequantize_affine_float8(stored, _scale(parameters, scheme, codes.shape)).numpy()
        return values


def _scale(parameters: Parameters, scheme: Scheme, shape: tuple[int, ...]) -> torch.Tensor:
    """One number a block, with all of the tensor's axes."""
    import torch

    blocks = [size // block for size, block in zip(shape, block_of(shape, scheme), strict=True)]
    return torch.from_numpy(parameters.scale.reshape(blocks).copy())


def _dtype(scheme: Scheme) -> torch.dtype:
    import torch

    dtype: torch.dtype = getattr(torch, scheme.element)
    return dtype


_quantizer = TorchAOFloat8()
QUANTIZERS.add(_quantizer.name, _quantizer)
