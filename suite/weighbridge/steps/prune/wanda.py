"""Wanda: a weight counts by its magnitude times how loud its input is, among the weights of its output.

Sun et al., A Simple and Effective Pruning Approach for Large Language Models, 2023. The inputs are those of the model
before pruning, seen in one pass over the calibration split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.core.errors import StageError
from weighbridge.core.zero_groups import as_rows, as_stored
from weighbridge.environment.one_thread import one_thread
from weighbridge.steps.calibration import Calibration
from weighbridge.steps.prune.n_m import Pattern, fit, largest, pattern_groups
from weighbridge.steps.prune.torch_weights import as_weight
from weighbridge.steps.prune.weights import Opened, pruned
from weighbridge.steps.selection import LayerOptions
from weighbridge.steps.torch_layers import WeightLayer, chosen_layers, read_by, working_copy
from weighbridge.steps.train.training import forward

if TYPE_CHECKING:
    import torch

    from weighbridge.contracts import Array

_HALF = 0.5


class WandaOptions(LayerOptions):
    amount: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Share of the weights of each output to remove; one half without it."
    )
    pattern: Pattern | None = Field(
        None, description="n:m along the inputs, such as 2:4, instead of `amount`."
    )
    samples: int = Field(128, ge=1, description="At most so many samples of the calibration split.")

    @model_validator(mode="after")
    def _one_of_two(self) -> WandaOptions:
        if self.pattern is not None and self.amount is not None:
            raise ValueError("`pattern` says how much is removed; leave `amount` out")
        return self


def wanda(model: Model, options: WandaOptions, context: Context) -> Model:
    """A copy with the weights that matter least to each output set to zero.

    Layers whose inputs cannot be seen are left, and named, as those that the pattern does not fit. Raises `StageError`
    where no other is left.
    """
    module = working_copy(model, "prune")
    layers, notes = chosen_layers(module, options)
    norms = _norms(module, layers, options, context)
    unseen = [layer.label for layer in layers if layer.label not in norms]
    seen = [layer for layer in layers if layer.label in norms]
    if unseen:
        notes = (*notes, f"{', '.join(unseen)}: left as it was, since its weight is read without calling it")
    if not seen:
        raise StageError("prune", f"no chosen layer is called: {', '.join(unseen)}")
    opened = Opened(
        Model("torch", module, model.source, model.notes), [as_weight(layer) for layer in seen], notes
    )
    groups = pattern_groups(options.pattern) if options.pattern else None
    weights, more = fit(opened, groups) if groups else (opened.weights, [])
    layer_of = {layer.label: layer.module for layer in seen}
    kept = []
    for weight in weights:
        scores = as_rows(abs(weight.numbers), weight.layout) * _by_weight(
            norms[weight.label], layer_of[weight.label]
        )
        rows = (
            largest(scores, groups)
            if groups
            else _best_of_each_output(scores, options.amount or _HALF, weight.group[1])
        )
        kept.append((weight, as_stored(rows, weight.layout)))
    return pruned(opened, kept, more)


def _norms(
    module: torch.nn.Module, layers: Sequence[WeightLayer], options: WandaOptions, context: Context
) -> dict[str, Array]:
    """The L2 norm of each input channel over all samples and places, by the layer's label, where it was called."""
    import torch

    labels = {layer.module.weight.data_ptr(): layer.label for layer in layers}
    sums: dict[str, Any] = {}

    def hear(layer: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        label, x = labels[layer.weight.data_ptr()], read_by(inputs, named)
        axis = x.dim() - layer.weight.dim() + 1 if isinstance(layer, torch.nn.modules.conv._ConvNd) else -1
        squares = x.double().square().movedim(axis, -1)
        sums[label] = sums.get(label, 0) + squares.reshape(-1, squares.shape[-1]).sum(0)

    kinds = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
    hooks = [
        layer.register_forward_pre_hook(hear, with_kwargs=True)
        for layer in module.modules()
        if isinstance(layer, kinds) and layer.weight.data_ptr() in labels
    ]
    try:
        with one_thread(), torch.inference_mode():
            for batch in Calibration(context, options.samples):
                forward(module, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {label: total.sqrt().numpy() for label, total in sums.items()}


def _by_weight(norms: Array, layer: Any) -> Array:
    """`norms` [inputs] in a shape that broadcasts against the weight as [outputs, inputs, …]."""
    groups = getattr(layer, "groups", 1)
    if groups > 1 and not layer.transposed:
        norms = norms.reshape(groups, -1).repeat(layer.out_channels // groups, axis=0)
    else:
        norms = norms[None]
    return norms.reshape(*norms.shape, *[1] * (layer.weight.dim() - 2))


def _best_of_each_output(scores: Array, amount: float, inputs: int) -> Array:
    """True for what stays: of the weights of each output, which reads so many inputs. At least one stays."""
    import numpy as np

    flat = scores.reshape(scores.shape[0] * (scores.shape[1] // inputs), -1)
    remove = min(round(amount * flat.shape[1]), flat.shape[1] - 1)
    kept = np.ones(flat.shape, bool)
    np.put_along_axis(kept, np.argsort(flat, axis=1, kind="stable")[:, :remove], False, axis=1)
    return kept.reshape(scores.shape)


STEPS.add(
    "prune:wanda",
    Step(
        "prune",
        "wanda",
        ("torch",),
        WandaOptions,
        wanda,
        must="sparsify",
        splits=("calibration",),
        zeros=lambda options: pattern_groups(options.pattern) if options.pattern else None,
    ),
)
