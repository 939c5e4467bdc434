"""A torch module with one layer at a time as its pruned or quantized twin has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import FORMATS, Mixed
from weighbridge.core.results import Artifact
from weighbridge.engines.torch_eager import TorchOptions, TorchSession, served

if TYPE_CHECKING:
    import torch


def mixed(original: Artifact, candidate: Artifact, options: TorchOptions) -> Iterator[Mixed]:
    """See `contracts.Engine.mixed`. A layer is put back once the next one is asked for."""
    if original.format != "torch" or candidate.format != "torch":
        return  # a traced program has no layers to exchange
    floats, twin = (
        served(FORMATS.get(artifact.format).open(artifact).value) for artifact in (original, candidate)
    )
    for names in _unlike(floats, twin):
        before = floats.get_submodule(names[0])
        kind, session = type(before).__name__, TorchSession(floats, options)
        try:
            _put(floats, names, twin.get_submodule(names[0]))
            yield Mixed(names[0], kind, session)
        finally:
            _put(floats, names, before)


def _put(module: torch.nn.Module, names: tuple[str, ...], layer: torch.nn.Module) -> None:
    for name in names:
        module.set_submodule(name, layer)


def _unlike(floats: torch.nn.Module, twin: torch.nn.Module) -> Iterator[tuple[str, ...]]:
    """The names of each layer that the twin has another of: of another type, or with other weights of its own.

    A module that is itself another type is exchanged whole; whether that stands for the same layer, its parts do not tell.
    """
    names: dict[int, list[str]] = {}
    for name, layer in floats.named_modules(remove_duplicate=False):
        names.setdefault(id(layer), []).append(name)
    done: set[str] = {""}  # of the whole there is no part to exchange
    theirs = dict(twin.named_modules(remove_duplicate=False))
    for name, layer in floats.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in done if outer)
        if name in done or inside or name not in theirs or type(twin) is not type(floats):
            continue
        if type(theirs[name]) is not type(layer) or _other_weights(layer, theirs[name]):
            done.update(names[id(layer)])
            yield tuple(names[id(layer)])


def _other_weights(one: Any, other: Any) -> bool:
    import torch

    mine, theirs = dict(one.named_parameters(recurse=False)), dict(other.named_parameters(recurse=False))
    return mine.keys() == theirs.keys() and any(
        type(mine[name]) is not type(theirs[name]) or not torch.equal(mine[name], theirs[name])
        for name in mine
        if mine[name].dim() > 1
    )
