"""What the steps on torch modules share: a copy to work on, and the layers that hold weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import Model, Options
from weighbridge.core.errors import StageError
from weighbridge.formats.torch_reparametrized import Kind, refuse
from weighbridge.steps.selection import Layer

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


def rebuilt_by(
    model: Model, key: str, options: Options, facts: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """The `source` of a torch model whose layers the step `key` changed: its checkpoint is opened by `Step.rebuild`.

    `facts` is what `rebuild` needs beside the options, such as the widths that a ranking chose; JSON values only.
    """
    done = [key, options.model_dump(mode="json"), dict(facts or {})]
    return {**model.source, "rebuild": [*model.source.get("rebuild", []), done]}
