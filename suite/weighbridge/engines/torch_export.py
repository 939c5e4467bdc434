"""What torch's exporters are given, and what torch.export traces: a module with the batch left open, or at one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import Inputs
from weighbridge.core.batches import items
from weighbridge.engines.torch_eager import to_tensors

if TYPE_CHECKING:
    import torch


def exporter_inputs(
    inputs: Inputs, floats: torch.dtype, batch: Any, varying: Mapping[str, Sequence[int]]
) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """The tensors by place, those by name, and `dynamic_shapes` for them.

    `batch` is what torch is told of the batch's axis, and of those in `varying`, by input, along which samples differ in
    length: a `torch.export.Dim`, or None where it stays as it is.
    """
    tensors = to_tensors(inputs, floats=floats)
    shapes = {
        name: dict.fromkeys([*(() if axis is None else (axis,)), *varying.get(name, ())], batch)
        for name, _, axis in items(inputs)
    }
    if isinstance(tensors, dict):
        return (), tensors, shapes
    return tensors, {}, tuple(shapes.values())


def traced(
    module: torch.nn.Module,
    inputs: Inputs,
    floats: torch.dtype,
    batch: Any,
    varying: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> Any:
    """The exported program of `module`; `batch` and `varying` as in `exporter_inputs`.

    Raises whatever torch, or the forward, raises.
    """
    import torch

    positional, named, shapes = exporter_inputs(inputs, floats, batch, varying)
    with torch.no_grad():
        return torch.export.export(module, positional, named, dynamic_shapes=shapes)
