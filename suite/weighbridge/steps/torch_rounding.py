"""Rounding to int8 that gradients pass: weights on a symmetric grid, activations in a range that is learned on the way."""

from __future__ import annotations

from typing import Any

import torch


class Grid(torch.nn.Module):
    """A parametrization: the weight [outputs, inputs, …] at the nearest of `highest` steps to either side of zero.

    The largest number is a step itself, so that whoever takes it for the end of the range finds the same grid again. With a
    `normalization`, the grid is that of the weight with which it is folded.
    """

    def __init__(self, highest: int, per_channel: bool, normalization: Any = None) -> None:
        super().__init__()
        self._highest, self._per_channel = highest, per_channel
        self._normalization = (normalization,)  # a tuple, so that it is no part of this module

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        factor = self._factor(weight)
        folded = weight.detach() * factor
        axes = tuple(range(1, weight.dim()))
        largest = folded.abs().amax(axes, keepdim=True) if self._per_channel else folded.abs().max()
        step = (largest / self._highest).clamp_min(torch.finfo(weight.dtype).tiny)
        rounded = (folded / step).round() * step / factor
        return weight + (rounded - weight.detach())

    def _factor(self, weight: torch.Tensor) -> torch.Tensor:
        """What the normalization multiplies each output by; 1 where it mutes one, whose weight means nothing."""
        (layer,) = self._normalization
        if layer is None:
            return torch.ones((), dtype=weight.dtype)
        scale = (layer.running_var + layer.eps).rsqrt()
        factor = scale if layer.weight is None else layer.weight.detach() * scale
        factor = torch.where(factor == 0, torch.ones_like(factor), factor)
        return factor.reshape(-1, *[1] * (weight.dim() - 1))


class Range(torch.nn.Module):
    """Activations at the nearest of 256 codes between the smallest and the largest, averaged over batches; 0 is a code."""

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, new: float) -> None:
        super().__init__()
        self._new = new
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self._see(x.detach())
        step = ((self.high - self.low) / 255).to(x.dtype)
        if not x.is_floating_point() or step == 0:
            return x
        zero = (-self.low / step).round()
        inside = x.clamp((0 - zero) * step, (255 - zero) * step)
        rounded = (inside.detach() / step).round() * step
        return inside + (rounded - inside.detach())

    def _see(self, x: torch.Tensor) -> None:
        low, high = x.min().clamp_max(0).float(), x.max().clamp_min(0).float()
        first = bool(self.high == self.low)
        self.low.copy_(low if first else torch.lerp(self.low, low, self._new))
        self.high.copy_(high if first else torch.lerp(self.high, high, self._new))
