"""Magnitude pruning of an ONNX graph itself, without torch: the smallest weights become zeros, wherever they are kept."""

from __future__ import annotations

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.steps.prune.options import MagnitudeOptions
from weighbridge.steps.prune.ranking import rank
from weighbridge.steps.prune.weights import open_weights, pruned


def magnitude(model: Model, options: MagnitudeOptions, context: Context) -> Model:
    """A copy with the weights of the smallest magnitude set to zero.

    Raises `StageError` naming the weight where an amount does not fit it, or where it is quantized already.
    """
    opened = open_weights(model, options)
    scores = {weight.label: abs(weight.numbers) for weight in opened.weights}
    kept, notes = rank(scores, options, "weights")
    return pruned(opened, [(weight, kept[weight.label]) for weight in opened.weights], notes)


STEPS.add(
    "prune:magnitude",
    Step("prune", "magnitude", ("onnx",), MagnitudeOptions, magnitude, must="sparsify", random=False),
)
