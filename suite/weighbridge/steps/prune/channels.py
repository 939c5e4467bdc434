"""Which channel each number of a weight belongs to, whatever order the layer keeps its axes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from weighbridge.core.errors import StageError

if TYPE_CHECKING:
    import torch


def channel_of(label: str, layer: Any, dim: int) -> torch.Tensor:
    """The number of the channel of each weight, an int64 tensor of the weight's shape.

    `dim` 0 is output channels, 1 input channels, 2 and on the positions along a kernel's axes. torch keeps
    convolutions as [out, in / groups, ...] and transposed ones as [in, out / groups, ...]; the axis that is divided
    by the groups holds other channels in each of them. Raises `StageError` where the weight has no such axis.
    """
    import torch

    weight = layer.weight
    if dim >= weight.dim():
        raise StageError(
            "prune",
            f"layer '{label}': `dim: {dim}`, and its weight of shape {tuple(weight.shape)} has the axes 0 to "
            f"{weight.dim() - 1}; leave the layer to `exclude`, or choose another `dim`",
        )
    transposed = getattr(layer, "transposed", False)
    axis = 1 - dim if transposed and dim < 2 else dim
    shape = [1] * weight.dim()
    shape[axis] = -1
    channels = torch.arange(weight.shape[axis]).view(shape)
    groups = getattr(layer, "groups", 1)
    if axis == 1 and groups > 1:
        rows = torch.arange(weight.shape[0]).view(-1, *[1] * (weight.dim() - 1))
        channels = channels + rows * groups // weight.shape[0] * weight.shape[1]
    return channels.expand(weight.shape)


def channel_scores(weight: torch.Tensor, channels: torch.Tensor, n: int | Literal["inf"]) -> torch.Tensor:
    """The norm of order `n` of each channel, shape [C], divided by that of ones, so that layers of any width compare."""
    import torch

    count = int(channels.max()) + 1
    index, size = channels.flatten(), weight.detach().abs().double().flatten()
    if n == "inf":
        return torch.zeros(count, dtype=size.dtype).scatter_reduce(0, index, size, "amax")
    total = torch.zeros(count, dtype=size.dtype).index_add(0, index, size**n)
    return (total / torch.bincount(index, minlength=count)) ** (1.0 / n)
