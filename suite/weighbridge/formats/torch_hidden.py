"""Tensors that a torch module computes with and its state dict does not hold: layers in a plain list, weights that are plain
attributes, buffers that are not persistent.

The file that ships has none of them, so that no count sees them, and no step reaches them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from weighbridge.core.errors import StageError
from weighbridge.core.listed import few
from weighbridge.formats.torch_reparametrized import find

if TYPE_CHECKING:
    import torch

SPARE = 0.1
"""Of the original's numbers: so much more may a candidate keep beside its file."""
_TORCHS_OWN = frozenset(("_parameters", "_buffers", "_modules"))
_DEEP = 3


def refuse_unregistered(module: torch.nn.Module, stage: str) -> None:
    """Raise `StageError` where a Parameter is in no state dict: somebody trains it and believes that it is saved."""
    import torch

    found = {name: tensor for name, tensor in _beside(module) if isinstance(tensor, torch.nn.Parameter)}
    if found:
        raise StageError(
            stage,
            f"weights that no state dict holds: {_told(found)}. No file has them, no step reaches them and nothing counts "
            "them; keep the layers in an nn.ModuleList or nn.ModuleDict in place of a list or dict, or, where the forward does "
            "not read them (a teacher), build the model without",
        )


def check_beside(candidate: torch.nn.Module, original: torch.nn.Module) -> None:
    """Raise `StageError` where a candidate keeps beside its file what the original has in it.

    Both may keep tables that their code computes, such as positions and masks.
    """
    ours, theirs = (_kept_beside(module) for module in (candidate, original))
    more = sum(tensor.numel() for tensor in ours.values()) - sum(tensor.numel() for tensor in theirs.values())
    had = sum(tensor.numel() for tensor in original.state_dict().values() if hasattr(tensor, "numel"))
    if more > SPARE * had:
        new = {name: tensor for name, tensor in ours.items() if name not in theirs} or ours
        raise StageError(
            "open",
            f"the candidate computes with {more} numbers that its file does not hold and the original has in its own: "
            f"{_told(new)}; register them as buffers, so that they ship and are weighed",
        )


def _kept_beside(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Matrices and more that the state dict lacks, whatever they are kept as."""
    saved = module.state_dict(keep_vars=True)
    buffers = {name: buffer for name, buffer in module.named_buffers() if name not in saved}
    computed = {f"{each.layer}.{each.weight}".lstrip(".") for each in find(module)}  # anew in every pass
    kept = [*buffers.items(), *_beside(module)]
    return {name: tensor for name, tensor in kept if tensor.dim() > 1 and name not in computed}


def _beside(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors in the attributes of the module's layers that torch did not register, each once, with a name."""
    registered = {*map(id, module.parameters()), *map(id, module.buffers())}
    memory = {_memory(tensor) for tensor in [*module.parameters(), *module.buffers()]} - {None}
    for prefix, layer in module.named_modules():
        for attribute, value in vars(layer).items():
            if attribute in _TORCHS_OWN:
                continue
            for name, tensor in _tensors_in(value, f"{prefix}.{attribute}".lstrip("."), _DEEP):
                if id(tensor) not in registered and _memory(tensor) not in memory:
                    registered.add(id(tensor))
                    yield name, tensor


def _tensors_in(value: Any, name: str, deep: int) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, torch.nn.Module):
        for part, tensor in [*value.named_parameters(), *value.named_buffers()]:
            yield f"{name}.{part}", tensor
    elif deep and isinstance(value, dict | list | tuple):
        held = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in list(held):
            yield from _tensors_in(one, f"{name}.{key}", deep - 1)


def _memory(tensor: torch.Tensor) -> int | None:
    """Where the tensor's numbers lie; None for one that has none, or that torch does not say it of."""
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (NotImplementedError, RuntimeError):
        return None


def _told(found: Mapping[str, torch.Tensor]) -> str:
    return few(f"{name} {list(tensor.shape)}" for name, tensor in found.items())
