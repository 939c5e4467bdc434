"""The weights of a torch module that prune steps set to zero: those of its Linear and convolution layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weighbridge.contracts import Model
from weighbridge.steps.prune.weights import Opened, Weight
from weighbridge.steps.selection import LayerOptions
from weighbridge.steps.torch_layers import WeightLayer, chosen_layers, working_copy

if TYPE_CHECKING:
    from weighbridge.contracts import Array


def torch_weights(model: Model, options: LayerOptions) -> Opened:
    """The chosen weights of a copy. Raises `StageError` where there are none."""
    module = working_copy(model, "prune")
    layers, notes = chosen_layers(module, options)
    return Opened(
        Model("torch", module, model.source, model.notes), [as_weight(each) for each in layers], notes
    )


def as_weight(layer: WeightLayer) -> Weight:
    """The weight of a Linear or a convolution. torch keeps transposed convolutions as [in, out / groups, …]."""
    module = layer.module
    weight = module.weight.detach()
    transposed, groups = getattr(module, "transposed", False), getattr(module, "groups", 1)
    outputs, inputs = weight.shape[:2] if not transposed else (weight.shape[1], weight.shape[0])
    group = (outputs, inputs // groups) if transposed else (outputs // groups, inputs)
    numbers = (weight.float() if weight.itemsize < 4 else weight).numpy()
    layout = ("io" if transposed else "oi") + "".join(map(str, range(weight.dim() - 2)))
    stored = weight.numel() * weight.itemsize
    return Weight(layer.label, numbers, layout, group, lambda kept: _keep(module.weight, kept), stored)


def _keep(weight: Any, kept: Array) -> None:
    """In place, so that a tie or a view of the weight stays one."""
    import torch

    with torch.no_grad():
        weight.masked_fill_(torch.from_numpy(~kept), 0)
