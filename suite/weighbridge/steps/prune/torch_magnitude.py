"""Weights set to zero in a torch module: single ones, or whole channels. The zeros are permanent, shapes stay.

Zeros make nothing faster by themselves, and a file smaller only when it is compressed; the thresholds `gzip_ratio`
and `nonzero` measure them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from weighbridge.contracts import STEPS, Context, Model, Options, Step
from weighbridge.core.errors import StageError
from weighbridge.steps.prune.channels import channel_of, channel_scores
from weighbridge.steps.selection import matching, select
from weighbridge.steps.torch_layers import WeightLayer, weight_layers, working_copy

if TYPE_CHECKING:
    import torch


class PruneOptions(Options):
    amount: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] = Field(
        description="How much to remove: a fraction between 0 and 1 (0.5 removes half), or a whole number of weights "
        "(of channels for ln_structured), in each layer or, with `scope: global`, in all of them together."
    )
    scope: Literal["local", "global"] = Field(
        "local", description="Rank within each layer, or across all of them."
    )
    layers: list[str] = Field(
        default_factory=lambda: ["*"],
        min_length=1,
        description="Names, patterns or types of the layers to prune.",
    )
    exclude: list[str] = Field(
        default_factory=list, description="Names, patterns or types of the layers to leave alone."
    )

    @field_validator("amount", mode="before")
    @classmethod
    def _possible(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and (0 < value < 1 or (isinstance(value, int) and value >= 1)):
            return value
        hint = ""
        if isinstance(value, str) and value.strip().endswith("%"):
            hint = " (write a percentage as a fraction, 50% as 0.5)"
        elif number and value == 1:
            hint = " (1.0 as a fraction would remove everything; one weight is written 1)"
        elif number and 1 < value < math.inf:
            share = f"{value / 100:g} for {value:g} %, or " if value < 100 else ""
            hint = f" (write {share}{round(value)} for so many weights)"
        raise ValueError(
            f"should be a fraction between 0 and 1, or a whole number of weights or channels{hint}"
        )


class StructuredOptions(PruneOptions):
    n: Annotated[int, Field(ge=1)] | Literal["inf"] = Field(2, description="The norm that ranks channels.")
    dim: int = Field(
        0,
        ge=0,
        description="What is removed: 0 output channels, 1 input channels (of transposed convolutions too), "
        "2 and on the positions of a kernel.",
    )


def prune(model: Model, options: PruneOptions, context: Context, method: str) -> Model:
    """A copy with the weights that rank lowest set to zero.

    A weight that two layers share is pruned once and stays shared. Raises `StageError` naming the layer where an
    amount does not fit it.
    """
    import torch

    generator = torch.Generator().manual_seed(context.seed)
    module = working_copy(model, "prune")
    found = weight_layers(module)
    layers, notes = _chosen(found, options)
    channels = {}
    if isinstance(options, StructuredOptions):
        channels = {layer.label: channel_of(layer.label, layer.module, options.dim) for layer in layers}
    scores: dict[str, torch.Tensor] = {}
    for layer in layers:
        weight = layer.module.weight.detach()
        if isinstance(options, StructuredOptions):
            scores[layer.label] = channel_scores(weight, channels[layer.label], options.n)
        elif method == "random_unstructured":
            scores[layer.label] = torch.rand(weight.shape, generator=generator)
        else:
            scores[layer.label] = weight.abs()
    unit = "channels" if channels else "weights"
    rank = _rank_globally if options.scope == "global" else _rank_locally
    kept, more = rank(scores, options.amount, unit)
    with torch.no_grad():
        for layer in layers:
            keep = kept[layer.label]
            mask = keep[channels[layer.label]] if channels else keep
            layer.module.weight.masked_fill_(~mask, 0)  # in place, so that a tie or a view of it stays one
    untouched = _untouched(found, layers)
    return Model("torch", module, model.source, (*model.notes, *notes, *more, *untouched))


def _chosen(found: Sequence[WeightLayer], options: PruneOptions) -> tuple[list[WeightLayer], list[str]]:
    """The layers to prune, each weight once, and what is to be said of weights that several layers share."""
    what, every = "no layer with weights", [each.layer for each in found]
    names = {layer.name for layer in select("prune", what, every, options.layers, options.exclude)}
    excluded = {layer.name for layer in matching("prune", "exclude", what, every, options.exclude)}
    prunable = [each for each in found if _prunable(each) and each.names[0] in names]
    if not prunable:
        there = ", ".join(f"{each.label} ({each.kind})" for each in found if each.names[0] in names)
        raise StageError(
            "prune",
            f"this step prunes Linear and convolution layers, and finds {there or 'no weights at all'}",
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
                f"{each.label} shares its weight with {', '.join(others)}, which is pruned along with it"
            )
    if not layers:
        raise StageError(
            "prune", f"every chosen layer shares its weight with an excluded one ({'; '.join(notes)})"
        )
    return list(layers.values()), notes


Kept = Mapping[str, Any]
"""By layer: True for each weight or channel that stays."""


def _rank_locally(scores: Mapping[str, torch.Tensor], amount: float, unit: str) -> tuple[Kept, list[str]]:
    import torch

    kept, notes, spared = {}, [], []
    for label, score in scores.items():
        total = score.numel()
        if isinstance(amount, int) and amount >= total:
            raise StageError(
                "prune",
                f"layer '{label}': amount {amount} is a number of {unit}, and it has {total:,} of them; {_WAYS_OUT}",
            )
        remove = amount if isinstance(amount, int) else round(amount * total)
        if remove == total:
            remove -= 1  # a layer without any cuts the network in two
            notes.append(f"{label}: {amount:.3g} of {total} {unit} are all of them; one was kept")
        if remove == 0:
            spared.append(f"{label} ({total} {unit})")
        kept[label] = torch.ones(total, dtype=torch.bool)
        kept[label][score.flatten().argsort(stable=True)[:remove]] = False
        kept[label] = kept[label].view(score.shape)
    if spared:
        notes.append(f"{', '.join(spared)} not pruned: {amount:.3g} of it is less than one")
    return kept, [*notes, *_whole(scores, amount, unit, "in each layer")]


def _rank_globally(scores: Mapping[str, torch.Tensor], amount: float, unit: str) -> tuple[Kept, list[str]]:
    import torch

    joined = torch.cat([score.flatten() for score in scores.values()])
    total = joined.numel()
    remove = amount if isinstance(amount, int) else round(amount * total)
    if remove >= total:
        raise StageError(
            "prune",
            f"amount {amount} is to be removed from all layers together, and {', '.join(scores)} have {total:,} "
            f"{unit}; {_WAYS_OUT}",
        )
    keep = torch.ones(total, dtype=torch.bool)
    keep[joined.argsort(stable=True)[:remove]] = False
    kept, notes = {}, []
    for (label, score), own in zip(
        scores.items(), keep.split([score.numel() for score in scores.values()]), strict=True
    ):
        if not own.any():  # a layer without any cuts the network in two
            own[score.argmax()] = True
            notes.append(f"{label} ranks lowest as a whole; one of its {score.numel():,} {unit} was kept")
        kept[label] = own.view(score.shape)
    return kept, [*notes, *_whole(scores, amount, unit, "of all layers together")]


_WAYS_OUT = "lower `amount`, write it as a fraction between 0 and 1, or leave the layer to `exclude`"


def _whole(scores: Mapping[str, torch.Tensor], amount: float, unit: str, where: str) -> list[str]:
    """What a whole number was taken for, since `50` may have been meant as a percentage."""
    if not isinstance(amount, int):
        return []
    total = sum(score.numel() for score in scores.values())
    layers = len(scores)
    times = amount * (layers if where == "in each layer" else 1)
    return [f"amount {amount} counts {unit} {where}: {times:,} of {total:,} ({times / total:.1%})"]


def _prunable(layer: WeightLayer) -> bool:
    import torch

    kinds = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
    return isinstance(layer.module, kinds) and "weight" in layer.weights


def _untouched(found: Sequence[WeightLayer], layers: Sequence[WeightLayer]) -> list[str]:
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
        f"not pruned, since prune steps take Linear and convolution layers: {', '.join(other.values())}; they hold "
        f"{share:.1%} of the model's weights"
    ]


def _register(method: str, options: type[PruneOptions]) -> None:
    def apply(model: Model, options: Any, context: Context) -> Model:
        return prune(model, options, context, method)

    typed: Callable[[Model, Any, Context], Model] = apply
    step = Step(
        "prune", method, ("torch",), options, typed, must="sparsify", random=method.startswith("random")
    )
    STEPS.add(step.key, step)


class MagnitudeOptions(PruneOptions):
    tunes: ClassVar = {"amount": (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9), "scope": ("global", "local")}
    serves: ClassVar = ("nonzero", "gzip")


_register("l1_unstructured", MagnitudeOptions)
_register("random_unstructured", PruneOptions)
_register("ln_structured", StructuredOptions)
