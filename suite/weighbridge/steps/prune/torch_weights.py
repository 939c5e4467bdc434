"""The weights of a torch module that prune steps set to zero: those of its Linear and convolution layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import Model
from weighbridge.core.errors import StageError
from weighbridge.steps.prune.weights import Opened, Weight
from weighbridge.steps.selection import LayerOptions, matching, select
from weighbridge.steps.torch_layers import WeightLayer, weight_layers, working_copy

if TYPE_CHECKING:
    import torch

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


def chosen_layers(
    module: torch.nn.Module, options: LayerOptions, stage: str = "prune"
) -> tuple[list[WeightLayer], tuple[str, ...]]:
    """The layers to change, each weight once, and what is to be said of weights that are shared or not taken.

    Raises `StageError` where the options leave none.
    """
    found = weight_layers(module)
    what, every = "no layer with weights", [each.layer for each in found]
    names = {layer.name for layer in select(stage, what, every, options.layers, options.exclude)}
    excluded = {layer.name for layer in matching(stage, "exclude", what, every, options.exclude)}
    prunable = [each for each in found if _prunable(each) and each.names[0] in names]
    if not prunable:
        there = ", ".join(f"{each.label} ({each.kind})" for each in found if each.names[0] in names)
        raise StageError(
            stage,
            f"this step takes Linear and convolution layers, and finds {there or 'no weights at all'}",
        )
    layers: dict[int, WeightLayer] = {}
    notes: list[str] = []
    for each in prunable:
        weight = each.module.weight
        sharing = [other for other in found if other.shares(weight)]
        protected = [other.label for other in sharing if other.names[0] in excluded]
        if weight.data_ptr() in layers:
            continue
        if protected:
            notes.append(
                f"{each.label} was left alone: it shares its weight with {', '.join(protected)}, which is excluded"
            )
            continue
        layers[weight.data_ptr()] = each
        others = [other.label for other in sharing if other is not each]
        if others:
            notes.append(
                f"{each.label} shares its weight with {', '.join(others)}, which changes along with it"
            )
    if not layers:
        raise StageError(
            stage, f"every chosen layer shares its weight with an excluded one ({'; '.join(notes)})"
        )
    return list(layers.values()), (*notes, *_untouched(found, list(layers.values()), stage))


def _prunable(layer: WeightLayer) -> bool:
    import torch

    kinds = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
    return isinstance(layer.module, kinds) and "weight" in layer.weights


def _untouched(found: Sequence[WeightLayer], layers: Sequence[WeightLayer], stage: str) -> list[str]:
    """The matrices that these methods have no say in: attention, recurrent layers, embeddings, own parameters."""
    weights = {weight.data_ptr(): weight for layer in found for weight in layer.weights.values()}
    pruned = {layer.module.weight.data_ptr() for layer in layers}
    other: dict[int, str] = {}
    for each in found:
        for name, weight in each.weights.items():
            if not (_prunable(each) and name == "weight") and weight.data_ptr() not in pruned:
                other.setdefault(weight.data_ptr(), f"{each.label}.{name} ({each.kind})")
    if not other:
        return []
    share = sum(weights[key].numel() for key in other) / sum(weight.numel() for weight in weights.values())
    return [
        f"left as they are, since {stage} steps take Linear and convolution layers: {', '.join(other.values())}; they hold "
        f"{share:.1%} of the model's weights"
    ]
