"""Weights set to zero in a torch module: single ones, or whole channels. The zeros are permanent, shapes stay.

Zeros make nothing faster by themselves, and a file smaller only when it is compressed; the thresholds `gzip_ratio`
and `nonzero` measure them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.steps.prune.channels import channel_of, channel_scores
from weighbridge.steps.prune.options import MagnitudeOptions, PruneOptions
from weighbridge.steps.prune.ranking import rank
from weighbridge.steps.prune.torch_weights import as_weight
from weighbridge.steps.prune.weights import Opened, pruned
from weighbridge.steps.torch_layers import chosen_layers, working_copy

if TYPE_CHECKING:
    from weighbridge.contracts import Array


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
    layers, notes = chosen_layers(module, options)
    weights = [as_weight(layer) for layer in layers]
    scores: dict[str, Array] = {}
    channels: dict[str, Array] = {}
    for layer, weight in zip(layers, weights, strict=True):
        label = weight.label
        if isinstance(options, StructuredOptions):
            of = channel_of(label, layer.module, options.dim)
            scores[label] = channel_scores(layer.module.weight, of, options.n).numpy()
            channels[label] = of.numpy()
        elif method == "random_unstructured":
            scores[label] = torch.rand(weight.numbers.shape, generator=generator).numpy()
        else:
            scores[label] = abs(weight.numbers)
    kept, more = rank(scores, options, "channels" if channels else "weights")
    masks = [kept[label][channels[label]] if channels else kept[label] for label in scores]
    opened = Opened(Model("torch", module, model.source, model.notes), weights, notes)
    return pruned(opened, list(zip(weights, masks, strict=True)), more)


def _register(method: str, options: type[PruneOptions]) -> None:
    def apply(model: Model, options: Any, context: Context) -> Model:
        return prune(model, options, context, method)

    typed: Callable[[Model, Any, Context], Model] = apply
    step = Step(
        "prune", method, ("torch",), options, typed, must="sparsify", random=method.startswith("random")
    )
    STEPS.add(step.key, step)


_register("l1_unstructured", MagnitudeOptions)
_register("random_unstructured", PruneOptions)
_register("ln_structured", StructuredOptions)
