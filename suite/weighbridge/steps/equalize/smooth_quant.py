"""SmoothQuant: outliers of activations are moved into the weights that read them, where a scale a channel takes them.

Xiao et al., SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models, 2022
(arXiv:2211.10438), equation 4. The scale goes into what makes the activation: a normalization's gain, or the product before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.core.errors import StageError
from weighbridge.steps.equalize.onnx_pairs import Pair
from weighbridge.steps.equalize.onnx_scaling import EqualizeOptions, equalized, reads, usable
from weighbridge.steps.onnx_answers import heard

if TYPE_CHECKING:
    from weighbridge.contracts import Array


class SmoothQuantOptions(EqualizeOptions):
    alpha: float = Field(
        0.5,
        ge=0,
        le=1,
        description="How much of an activation's range goes into the weights: 1 is all of it.",
    )
    samples: int = Field(128, ge=1, description="At most so many samples of the calibration split.")


def smooth_quant(model: Model, options: SmoothQuantOptions, context: Context) -> Model:
    """Each input channel of a MatMul or Gemm divided by max|X|^alpha / max|W|^(1 - alpha), and its weights multiplied.

    Raises `StageError`, see `onnx_scaling.equalized`, and where an activation is not finite.
    """

    def scales(proto: Any, pairs: Sequence[Pair], stored: dict[str, Array]) -> Mapping[Pair, Array]:
        import numpy as np

        seen = _reach_of_activations(proto, pairs, context, options.samples)
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                pair: usable(seen[pair] ** options.alpha / reads(stored, pair) ** (1 - options.alpha))
                for pair in pairs
            }

    def unfit(pair: Pair) -> str:
        others = [kind for kind in pair.read_by if kind not in ("MatMul", "Gemm")]
        return f"a {others[0]} reads it, and outliers go into MatMul and Gemm alone" if others else ""

    return equalized("smooth_quant", model, options, context, unfit, scales)


def _reach_of_activations(
    proto: Any, pairs: Sequence[Pair], context: Context, samples: int
) -> dict[Pair, Array]:
    """The largest magnitude of each channel that a pair's readers see, [channels]."""
    import numpy as np

    reached: dict[Pair, Array] = {pair: np.zeros(pair.width) for pair in pairs}
    for values in heard(proto, list(dict.fromkeys(pair.value for pair in pairs)), context, samples):
        for pair in pairs:
            seen = np.moveaxis(np.abs(values[pair.value]), pair.axis, -1).reshape(-1, pair.width)
            reached[pair] = np.maximum(reached[pair], seen.max(0, initial=0))
    for pair, found in reached.items():
        if not np.isfinite(found).all():
            raise StageError(
                "equalize", f"what {pair.label} reads holds NaN or infinity on calibration samples"
            )
    return reached


STEPS.add(
    "equalize:smooth_quant",
    Step(
        "equalize",
        "smooth_quant",
        ("onnx",),
        SmoothQuantOptions,
        smooth_quant,
        splits=("calibration",),
    ),
)
