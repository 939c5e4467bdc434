"""What the steps on torch modules share: a copy to work on, and the layers that hold weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import Model, Options
from weighbridge.core.errors import StageError
from weighbridge.formats.torch_reparametrized import Kind, refuse
from weighbridge.steps.selection import Layer, LayerOptions, matching, select

if TYPE_CHECKING:
    import torch

_ALL: tuple[Kind, ...] = ("mask", "hook", "parametrization")


def working_copy(model: Model, stage: str, kinds: tuple[Kind, ...] = _ALL) -> Any:
    """A copy of the module that the step may change; what shared memory still does, views among the buffers too.

    Raises `StageError` naming the layer where a weight is computed in one of the ways `kinds`, and the attribute
    where the module cannot be copied.
    """
    refuse(model.value, stage, kinds)
    try:
        copied = copy.deepcopy(model.value)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise StageError(
            stage, f"{_uncopyable(model.value)}, so there is no copy to work on (copy.deepcopy: {error})"
        ) from error
    _share(model.value, copied)
    return copied


def _share(original: torch.nn.Module, copied: torch.nn.Module) -> None:
    """Let the tensors of `copied` share memory as those of `original` do: torch copies each parameter apart."""
    owners: dict[int, tuple[Any, Any]] = {}
    for (name, tensor), (_, twin) in zip(_tensors(original), _tensors(copied), strict=True):
        if not tensor.numel() or tensor.is_quantized:
            continue
        owner, owned = owners.setdefault(tensor.untyped_storage().data_ptr(), (tensor, twin))
        offset = tensor.storage_offset() - owner.storage_offset()
        if owned is twin or offset < 0 or owner.stride() != owned.stride() or tensor.dtype != owner.dtype:
            continue
        view = owned.detach().as_strided(tensor.shape, tensor.stride(), owned.storage_offset() + offset)
        layer, _, attribute = name.rpartition(".")
        if attribute in copied.get_submodule(layer)._parameters:
            twin.data = view
        else:
            copied.get_submodule(layer)._buffers[attribute] = view


def _tensors(module: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Parameters, then buffers, at every place where one stands."""
    found: list[tuple[str, torch.Tensor]] = list(module.named_parameters(remove_duplicate=False))
    return [*found, *module.named_buffers(remove_duplicate=False)]


def _uncopyable(module: torch.nn.Module) -> str:
    """Names the tensor that is no leaf of the graph: torch copies leaves only."""
    import torch

    for name, layer in module.named_modules():
        for attribute, value in vars(layer).items():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                where = f"{name}.{attribute}" if name else attribute
                return (
                    f"the module keeps '{where}', a tensor with a gradient history; detach it where it is set"
                )
    return "the module cannot be copied"


def read_by(given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """What a layer is called with, which may be by keyword: torch's own call it `input`, and may be told a size before it."""
    return given[0] if given else named.get("input", next(iter(named.values())))


@dataclass(frozen=True)
class WeightLayer:
    """A layer that owns float weights of two or more dimensions: its names (several where it stands at several places)."""

    names: tuple[str, ...]
    module: Any
    weights: Mapping[str, Any]
    """The parameters by their attribute's name."""

    @property
    def kind(self) -> str:
        return type(self.module).__name__

    @property
    def label(self) -> str:
        return self.names[0] or "(the module itself)"

    def shares(self, weight: torch.Tensor) -> bool:
        """Whether one of its weights stands in the same memory as `weight`."""
        return any(own.data_ptr() == weight.data_ptr() for own in self.weights.values())

    @property
    def layer(self) -> Layer:
        """As patterns see it: by every name, and by those of its weights."""
        weights = {f"{name}.{weight}".lstrip(".") for name in self.names for weight in self.weights}
        return Layer(self.names[0], self.kind, frozenset({*self.names, *weights}))


def weight_layers(module: torch.nn.Module) -> list[WeightLayer]:
    """Every layer that owns a float parameter of two or more dimensions, in the module's order."""
    names: dict[int, list[str]] = {}
    for name, layer in module.named_modules(remove_duplicate=False):
        names.setdefault(id(layer), []).append(name)
    found = []
    for layer in module.modules():
        weights = {
            name: parameter
            for name, parameter in layer.named_parameters(recurse=False)
            if parameter.dim() > 1 and parameter.is_floating_point()
        }
        if weights:
            found.append(WeightLayer(tuple(names[id(layer)]), layer, weights))
    return found


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


def rebuilt_by(
    model: Model, key: str, options: Options, facts: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """The `source` of a torch model whose layers the step `key` changed: its checkpoint is opened by `Step.rebuild`.

    `facts` is what `rebuild` needs beside the options, such as the widths that a ranking chose; JSON values only.
    """
    done = [key, options.model_dump(mode="json"), dict(facts or {})]
    return {**model.source, "rebuild": [*model.source.get("rebuild", []), done]}
