"""SmoothQuant: outliers of activations are moved into the weights that read them, where a scale a channel takes them.

Xiao et al., SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models, 2022
(arXiv:2211.10438), equation 4. The scale goes into what makes the activation: a normalization's gain, or the product before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.core.errors import StageError
from weighbridge.core.listed import few
from weighbridge.steps.equalize.activations import Activation, rounding_noise
from weighbridge.steps.equalize.onnx_pairs import Pair
from weighbridge.steps.equalize.onnx_scaling import EqualizeOptions, equalized, reads, usable
from weighbridge.steps.onnx_answers import heard

if TYPE_CHECKING:
    from weighbridge.contracts import Array

ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
WORTH = 0.5
"""A pair is scaled if it is left with less than this share of the noise that it has without: 3 dB, half a bit."""


class SmoothQuantOptions(EqualizeOptions):
    before_quantizing: ClassVar = {"insert": True}
    alpha: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = Field(
        "auto",
        description="How much of an activation's range goes into the weights, from 0 to 1: 1 is all of it. auto: for each "
        "activation what leaves the least noise in the layers that read it, and no scale where that is hardly less.",
    )
    insert: bool = Field(
        False,
        description="Whether dense layers whose input takes no scale have a Mul of their own in front: behind a GELU, attention, "
        "or a normalization that is added to something too, as of BERT.",
    )
    samples: int = Field(128, ge=1, description="At most so many samples of the calibration split.")


def smooth_quant(model: Model, options: SmoothQuantOptions, context: Context) -> Model:
    """Each input channel of a MatMul or Gemm divided by max|X|^alpha / max|W|^(1 - alpha), and its weights multiplied.

    Raises `StageError`, see `onnx_scaling.equalized`, where an activation is not finite, and where no scale is worth it.
    """
    taken: dict[Pair, float] = {}

    def scales(proto: Any, pairs: Sequence[Pair], stored: dict[str, Array]) -> Mapping[Pair, Array]:
        found: dict[Pair, Array] = {}
        for pair, seen in _activations(proto, pairs, context, options.samples).items():
            alpha = _quietest(seen, stored, pair) if options.alpha == "auto" else options.alpha
            if alpha is not None:
                taken[pair], found[pair] = alpha, _scale(seen, reads(stored, pair), alpha)
        if not found:
            raise StageError(
                "equalize",
                f"no scale halves the noise of 8 bits, of {few([pair.label for pair in pairs])}: there are no outliers to "
                "move, leave the step out",
                "equalize: smooth_quant",
            )
        return found

    def unfit(pair: Pair) -> str:
        others = [kind for kind in pair.read_by if kind not in ("MatMul", "Gemm")]
        return f"a {others[0]} reads it, and outliers go into MatMul and Gemm alone" if others else ""

    made = equalized("smooth_quant", model, options, context, unfit, scales, options.insert)
    if options.alpha != "auto":
        return made
    counts = sorted(Counter(taken.values()).items())
    return replace(made, notes=(*made.notes, f"alpha: {', '.join(f'{alpha} of {n}' for alpha, n in counts)}"))


def _quietest(seen: Activation, stored: Mapping[str, Array], pair: Pair) -> float | None:
    """The alpha that leaves the least noise in what reads the activation; None where no scale is worth it."""
    weights = [stored[touch.tensor].swapaxes(0, touch.axis) for touch in pair.readers]
    read = reads(stored, pair)
    noise = {alpha: rounding_noise(seen, weights, _scale(seen, read, alpha)) for alpha in ALPHAS}
    least = min(noise, key=lambda alpha: noise[alpha])
    return least if noise[least] < WORTH * rounding_noise(seen, weights, None) else None


def _scale(seen: Activation, read: Array, alpha: float) -> Array:
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        return usable(seen.reach**alpha / read ** (1 - alpha))


def _activations(proto: Any, pairs: Sequence[Pair], context: Context, samples: int) -> dict[Pair, Activation]:
    """What the readers of each pair see."""
    import numpy as np

    found = {pair: Activation.of(pair.width) for pair in pairs}
    for values in heard(proto, list(dict.fromkeys(pair.value for pair in pairs)), context, samples):
        for pair, seen in found.items():
            seen.add(values[pair.value], pair.axis)
    for pair, seen in found.items():
        if not np.isfinite(seen.reach).all():
            raise StageError(
                "equalize", f"what {pair.label} reads holds NaN or infinity on calibration samples"
            )
    return found


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
