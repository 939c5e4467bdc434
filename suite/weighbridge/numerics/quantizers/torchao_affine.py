"""torchao's affine primitives, on which its CPU weight and activation quantizers are built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from weighbridge.environment.extras import TORCHAO
from weighbridge.numerics.elements import Array, Integer
from weighbridge.numerics.quantizer import QUANTIZERS, KnownDifference
from weighbridge.numerics.reference import Quotient
from weighbridge.numerics.schemes import Parameters, Scheme

if TYPE_CHECKING:
    import torch


class TorchAOAffine:
    """`choose_qparams_affine`, `quantize_affine`, `dequantize_affine`; groups by `block_size`."""

    name = "torchao_affine"
    engines: tuple[str, ...] = (
        "torchao",
        "quantize:int8_dynamic@torch",
        "quantize:int8_weight_only@torch",
        "quantize:pt2e@torch",
    )
    requires = (TORCHAO,)
    nan: Literal["refused", "kept"] = "refused"
    bit_exact: Quotient | None = None
    smallest_scale = 2.0**-126
    """Passed as `eps`."""
    known: Sequence[KnownDifference] = (
        KnownDifference(
            "nan_is_never_a_number",
            lambda trial: True,
            Scheme("int8"),
            [0.0],
            Parameters(np.ones((), np.float32), np.zeros((), np.int64)),
            "NaN becomes a code",
            "torchao 0.18.0",
        ),
    )

    def supports(self, scheme: Scheme) -> bool:
        return isinstance(scheme.type, Integer) and scheme.rounding == "half_even" and scheme.bits <= 8

    def accepts(self, scheme: Scheme, shape: tuple[int, ...]) -> bool:
        return in_blocks(shape, scheme)

    def choose(self, x: Array, scheme: Scheme) -> Parameters:
        import torch
        from torchao.quantization.quant_primitives import MappingType, choose_qparams_affine

        kind = MappingType.SYMMETRIC if scheme.symmetric else MappingType.ASYMMETRIC
        scale, zero_point = choose_qparams_affine(
            torch.from_numpy(x),
            kind,
            block_of(x.shape, scheme),
            _stored(scheme),
            **_range(scheme),
            eps=self.smallest_scale,
            scale_dtype=torch.float32,
        )
        wanted = scheme.parameter_shape(x.shape)
        return Parameters(scale.numpy().reshape(wanted), zero_point.numpy().astype(np.int64).reshape(wanted))

    def quantize(self, x: Array, parameters: Parameters, scheme: Scheme) -> Array:
        import torch
        from torchao.quantization.quant_primitives import quantize_affine

        codes: Array = quantize_affine(
            torch.from_numpy(x),
            block_of(x.shape, scheme),
            *_pair(parameters),
            _stored(scheme),
            **_range(scheme),
        ).numpy()
        return codes

    def dequantize(self, codes: Array, parameters: Parameters, scheme: Scheme) -> Array:
        import torch
        from torchao.quantization.quant_primitives import dequantize_affine

        stored = _stored(scheme)
        values: Array = dequantize_affine(
            torch.from_numpy(np.ascontiguousarray(codes)).to(stored),
            block_of(codes.shape, scheme),
            *_pair(parameters),
            stored,
            **_range(scheme),
        ).numpy()
        return values


def in_blocks(shape: tuple[int, ...], scheme: Scheme) -> bool:
    """Whether torchao quantizes such a tensor, and as the scheme says."""
    whole = scheme.axis is None or scheme.group_size is None or shape[scheme.axis] % scheme.group_size == 0
    # Blocks of one number each are reduced over the whole tensor: see docs/known-differences.md.
    alone = math.prod(block_of(shape, scheme)) == 1 and math.prod(shape) > 1
    return whole and not alone and len(shape) > 0 and 0 not in shape


def block_of(shape: tuple[int, ...], scheme: Scheme) -> tuple[int, ...]:
    """The shape of the numbers that share a scale."""
    block = [1] * len(shape) if scheme.group_size is not None else list(shape)
    if scheme.axis is not None:
        block[scheme.axis] = scheme.group_size or 1
    return tuple(block)


def _stored(scheme: Scheme) -> torch.dtype:
    import torch

    return torch.int8 if scheme.type.signed else torch.uint8


def _range(scheme: Scheme) -> dict[str, Any]:
    return {"quant_min": int(scheme.lowest), "quant_max": int(scheme.highest)}


def _pair(parameters: Parameters) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    return torch.from_numpy(parameters.scale.copy()), torch.from_numpy(parameters.zero_point.astype(np.int32))


_quantizer = TorchAOAffine()
QUANTIZERS.add(_quantizer.name, _quantizer)
