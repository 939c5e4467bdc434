"""The weights that a prune step may set to zero, whatever format keeps them: a copy of the model to work on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weighbridge.contracts import Model
from weighbridge.core.listed import few
from weighbridge.steps.selection import LayerOptions

if TYPE_CHECKING:
    from weighbridge.contracts import Array


@dataclass(frozen=True)
class Weight:
    """One weight, which several layers may read. `numbers` are floats in the shape that they are stored in."""

    label: str
    numbers: Array
    layout: str
    """A letter an axis, as in `Use.layout`; empty where it is not known."""
    group: tuple[int, int]
    """Outputs and inputs that belong together: of one group of a convolution."""
    keep: Callable[[Array], None]
    """Takes True for each number that stays, in the shape of `numbers`; sets the others to zero in the model."""
    stored_bytes: int


@dataclass(frozen=True)
class Opened:
    """A copy of a model, the weights that the options choose, by labels of their own, and what is to be said of others."""

    model: Model
    weights: Sequence[Weight]
    notes: tuple[str, ...] = ()


def open_weights(model: Model, options: LayerOptions) -> Opened:
    """The weights of a torch module or an ONNX graph. Raises `StageError` where the options leave none."""
    if model.format == "onnx":
        from weighbridge.steps.prune.onnx_weights import onnx_weights

        return onnx_weights(model, options)
    from weighbridge.steps.prune.torch_weights import torch_weights

    return torch_weights(model, options)


def pruned(opened: Opened, kept: Sequence[tuple[Weight, Array]], notes: Sequence[str] = ()) -> Model:
    """The opened model with everything set to zero that is not `kept`, and what that buys, counted."""
    import numpy as np

    left = 0
    for weight, mask in kept:
        left += int(np.count_nonzero(weight.numbers[mask]))
        weight.keep(mask)
    total = sum(weight.numbers.size for weight, _ in kept)
    stored = sum(weight.stored_bytes for weight, _ in kept)
    names = few(weight.label for weight, _ in kept)
    bought = (
        f"{1 - left / total:.1%} of the {total:,} weights in {names} are zeros, which take {stored:,} "
        "bytes as before and are multiplied like other numbers: no faster, and smaller only where the file is compressed"
    )
    return replace(opened.model, notes=(*opened.model.notes, *opened.notes, *notes, bought))
