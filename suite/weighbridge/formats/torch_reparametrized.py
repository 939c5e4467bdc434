"""Layers of a torch module whose weight is not a plain parameter: pruning masks, weight norms, parametrizations.

Such a weight is computed anew in every forward pass from parameters of other names. It can be neither pruned nor
quantized, often not even copied, and what a checkpoint holds is more than the weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from weighbridge.core.errors import StageError
from weighbridge.core.listed import few

if TYPE_CHECKING:
    import torch

Kind = Literal["mask", "hook", "parametrization"]
"""`mask`: torch.nn.utils.prune; `hook`: the old weight_norm and spectral_norm; `parametrization`: the new ones."""


@dataclass(frozen=True)
class Reparametrized:
    """One weight that is computed: the layer's name (empty for the module itself), by what, and the call that ends it."""

    layer: str
    weight: str
    kind: Kind
    what: str
    undo: str

    def __str__(self) -> str:
        layer = f"layer '{self.layer}'" if self.layer else "the module itself"
        return f"{layer}: its {self.weight} is computed from {self.what}; call {self.undo}"


def find(module: torch.nn.Module) -> Iterator[Reparametrized]:
    """Every weight of `module` that is computed in the forward pass by torch's own means."""
    from torch.nn.utils import parametrize, prune

    for name, layer in module.named_modules():
        owner = f"model.get_submodule('{name}')" if name else "model"
        if parametrize.is_parametrized(layer):
            lists: Any = layer.parametrizations
            for weight, chain in lists.items():
                what = ", ".join(type(each).__name__.strip("_") for each in chain)
                undo = f"torch.nn.utils.parametrize.remove_parametrizations({owner}, '{weight}')"
                yield Reparametrized(name, weight, "parametrization", f"the parametrization {what}", undo)
        for hook in layer._forward_pre_hooks.values():
            kind = type(hook)
            if isinstance(hook, prune.BasePruningMethod):
                weight = str(hook._tensor_name)
                undo = f"torch.nn.utils.prune.remove({owner}, '{weight}') to make it permanent"
                yield Reparametrized(name, weight, "mask", "a pruning mask", undo)
            elif kind.__module__.startswith("torch.nn.utils.") and kind.__name__ in _OLD:
                weight = str(getattr(hook, "name", "weight"))
                undo = f"torch.nn.utils.{_OLD[kind.__name__]}({owner}, '{weight}')"
                yield Reparametrized(name, weight, "hook", f"the hook {kind.__name__}", undo)


_OLD = {"WeightNorm": "remove_weight_norm", "SpectralNorm": "remove_spectral_norm"}


def refuse(
    module: torch.nn.Module, stage: str, kinds: Sequence[Kind] = ("mask", "hook", "parametrization")
) -> None:
    """Raise `StageError` where a weight of `module` is computed in one of these ways; it names each and what to call."""
    found = [each for each in find(module) if each.kind in kinds]
    if found:
        raise StageError(stage, f"{few(map(str, found), 3, '; ')} where the model is built")


def apply_masks(state: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """A state dict with `x_orig` and `x_mask` made into `x`, and the names of these `x`."""
    masked = [
        name.removesuffix("_orig")
        for name in state
        if name.endswith("_orig") and f"{name.removesuffix('_orig')}_mask" in state
    ]
    plain = dict(state)
    for name in masked:
        weight, mask = plain.pop(f"{name}_orig"), plain.pop(f"{name}_mask")
        if weight.shape != mask.shape:
            raise StageError(
                "load",
                f"the mask of '{name}' has shape {tuple(mask.shape)}, its weight {tuple(weight.shape)}",
            )
        plain[name] = weight.masked_fill(mask == 0, 0)
    return plain, masked
