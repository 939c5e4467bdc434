"""torch's own quantizers: fake quantization, quantized tensors with their observers, casts to reduced floats."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from weighbridge.contracts import Requirement
from weighbridge.numerics.elements import Array, Integer
from weighbridge.numerics.quantizer import QUANTIZERS, KnownDifference
from weighbridge.numerics.reference import SMALLEST_SCALE, Quotient
from weighbridge.numerics.schemes import Parameters, Scheme

if TYPE_CHECKING:
    import torch

VERSION = "torch 2.13.0"
UNIT = Parameters(np.ones((), np.float32), np.zeros((), np.int64))
NAN = KnownDifference(
    "nan_is_never_a_number", lambda trial: True, Scheme("int8"), [0.0], UNIT, "NaN becomes a code", VERSION
)
FAR = "past 63 bits, and at infinity, large numbers per channel get the lowest code"
ODD = "the zero point is added before rounding, so that ties go to the odd code where it is odd"
TORCH = (Requirement("package", "torch", "pip install torch"),)


class TorchFakeQuantize:
    """`torch.fake_quantize_per_tensor_affine` and `..._per_channel_affine`: what quantization-aware training sees.

    Both return values, not codes; the codes are what the values say, which is exact.
    """

    name = "torch_fake_quantize"
    engines: tuple[str, ...] = ()
    requires = TORCH
    nan: Literal["refused", "kept"] = "refused"
    bit_exact: Quotient | None = None
    smallest_scale = SMALLEST_SCALE
    known: Sequence[KnownDifference] = (
        NAN,
        *(
            KnownDifference(
                name,
                lambda trial: trial.scheme.axis is not None,
                Scheme("int8", axis=0),
                [0.0, 0.0],
                Parameters(np.ones(2, np.float32), np.zeros(2, np.int64)),
                FAR,
                VERSION,
            )
            for name in ("saturates_far_outside", "infinities_saturate")
        ),
    )

    def supports(self, scheme: Scheme) -> bool:
        return (
            isinstance(scheme.type, Integer) and scheme.group_size is None and scheme.rounding == "half_even"
        )

    def accepts(self, scheme: Scheme, shape: tuple[int, ...]) -> bool:
        return scheme.axis is None or shape[scheme.axis] > 0  # no channels are an error

    def quantize(self, x: Array, parameters: Parameters, scheme: Scheme) -> Array:
        import torch

        tensor, low, high = torch.from_numpy(x), int(scheme.lowest), int(scheme.highest)
        if scheme.axis is None:
            scale, zero_point = float(parameters.scale), int(parameters.zero_point)
            values = torch.fake_quantize_per_tensor_affine(tensor, scale, zero_point, low, high)
        else:
            values = torch.fake_quantize_per_channel_affine(
                tensor,
                torch.from_numpy(parameters.scale.copy()),
                torch.from_numpy(parameters.zero_point.astype(np.int32)),
                scheme.axis % x.ndim,
                low,
                high,
            )
        scales, zero_points = parameters.spread(x.shape, scheme)
        codes: Array = np.rint(values.numpy().astype(np.float64) / scales) + zero_points
        return codes.astype(np.int64)

    def dequantize(self, codes: Array, parameters: Parameters, scheme: Scheme) -> Array:
        scale, zero_point = parameters.spread(codes.shape, scheme)
        values: Array = ((codes - zero_point) * scale).astype(np.float32)
        return values


class TorchQuantizedTensor:
    """`torch.quantize_per_tensor` and `..._per_channel` to qint8 and quint8, parameters from torch's observers."""

    name = "torch_quantized_tensor"
    engines: tuple[str, ...] = ("torch",)
    requires = TORCH
    nan: Literal["refused", "kept"] = "refused"
    bit_exact: Quotient | None = None
    smallest_scale = 2.0**-23
    """The observers' `eps`."""
    known: Sequence[KnownDifference] = (
        NAN,
        KnownDifference(
            "ties_round_as_named",
            lambda trial: not trial.scheme.symmetric,
            Scheme("int8", symmetric=False),
            [0.5],
            Parameters(np.ones((), np.float32), np.ones((), np.int64)),
            ODD,
            VERSION,
        ),
    )

    def supports(self, scheme: Scheme) -> bool:
        return (
            scheme.element in ("int8", "uint8")
            and scheme.group_size is None
            and scheme.rounding == "half_even"
            and not scheme.narrow
        )

    def accepts(self, scheme: Scheme, shape: tuple[int, ...]) -> bool:
        # The per-channel observer needs an axis to reduce; neither observer takes an empty tensor.
        return 0 not in shape and (scheme.axis is None or len(shape) > 1)

    def choose(self, x: Array, scheme: Scheme) -> Parameters:
        import torch
        from torch.ao.quantization.observer import MinMaxObserver, PerChannelMinMaxObserver

        settings: dict[str, Any] = {"dtype": _quantized(scheme), "qscheme": _qscheme(scheme)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the deprecation of torch.ao.quantization
            if scheme.axis is None:
                observer: Any = MinMaxObserver(**settings)
            else:
                observer = PerChannelMinMaxObserver(ch_axis=scheme.axis % x.ndim, **settings)
            observer(torch.from_numpy(x))
            scale, zero_point = observer.calculate_qparams()
        wanted = scheme.parameter_shape(x.shape)
        return Parameters(scale.numpy().reshape(wanted), zero_point.numpy().astype(np.int64).reshape(wanted))

    def quantize(self, x: Array, parameters: Parameters, scheme: Scheme) -> Array:
        import torch

        codes: Array = self._tensor(torch.from_numpy(x), parameters, scheme).int_repr().numpy()
        return codes

    def dequantize(self, codes: Array, parameters: Parameters, scheme: Scheme) -> Array:
        import torch

        stored = torch.from_numpy(codes.astype(scheme.element))
        if scheme.axis is None:
            tensor = torch._make_per_tensor_quantized_tensor(
                stored, float(parameters.scale), int(parameters.zero_point)
            )
        else:
            scale, zero_point = _pair(parameters)
            tensor = torch._make_per_channel_quantized_tensor(
                stored, scale, zero_point, scheme.axis % codes.ndim
            )
        values: Array = tensor.dequantize().numpy()
        return values

    def _tensor(self, x: torch.Tensor, parameters: Parameters, scheme: Scheme) -> torch.Tensor:
        import torch

        if scheme.axis is None:
            scale, zero_point = float(parameters.scale), int(parameters.zero_point)
            return torch.quantize_per_tensor(x, scale, zero_point, _quantized(scheme))
        return torch.quantize_per_channel(x, *_pair(parameters), scheme.axis % x.ndim, _quantized(scheme))


class TorchCast:
    """`tensor.to(dtype)` for the reduced floats, as `.half()`, `.bfloat16()` and float8 storage do it."""

    name = "torch_cast"
    engines: tuple[str, ...] = ("torch",)
    requires = TORCH
    nan: Literal["refused", "kept"] = "kept"
    bit_exact: Quotient | None = "exact"
    smallest_scale = SMALLEST_SCALE
    known: Sequence[KnownDifference] = ()

    def supports(self, scheme: Scheme) -> bool:
        if scheme.scaled or scheme.rounding != "half_even" or isinstance(scheme.type, Integer):
            return False
        # float8_e4m3fn, which has no infinity, saturates; the others overflow.
        return scheme.saturate == (scheme.element == "float8_e4m3fn")

    def accepts(self, scheme: Scheme, shape: tuple[int, ...]) -> bool:
        return True

    def quantize(self, x: Array, parameters: Parameters, scheme: Scheme) -> Array:
        import torch

        narrow: Array = torch.from_numpy(x).to(getattr(torch, scheme.element)).float().numpy()
        return narrow

    def dequantize(self, codes: Array, parameters: Parameters, scheme: Scheme) -> Array:
        return codes


def _quantized(scheme: Scheme) -> torch.dtype:
    import torch

    return torch.qint8 if scheme.type.signed else torch.quint8


def _qscheme(scheme: Scheme) -> torch.qscheme:
    import torch

    kind = "tensor" if scheme.axis is None else "channel"
    chosen: torch.qscheme = getattr(torch, f"per_{kind}_{'symmetric' if scheme.symmetric else 'affine'}")
    return chosen


def _pair(parameters: Parameters) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    return torch.from_numpy(parameters.scale.copy()), torch.from_numpy(parameters.zero_point.copy())


for _quantizer in (TorchFakeQuantize(), TorchQuantizedTensor(), TorchCast()):
    QUANTIZERS.add(_quantizer.name, _quantizer)
