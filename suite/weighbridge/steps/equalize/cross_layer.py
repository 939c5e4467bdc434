"""Cross-layer equalization: each channel takes as much of the range of the weights that make it as of those that read it.

Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019 (arXiv:1906.04721), equation 11.
Layers in a row are equalized again and again, until nothing moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.steps.equalize.onnx_pairs import Pair, reach
from weighbridge.steps.equalize.onnx_scaling import EqualizeOptions, equalized, move, reads, usable

if TYPE_CHECKING:
    from weighbridge.contracts import Array

_SWEEPS = 50
_STILL = 1e-3
"""Relative change of a scale below which nothing moves any more."""
_MAKERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def cross_layer(model: Model, options: EqualizeOptions, context: Context) -> Model:
    """Channels between two products scaled so that both have the same largest weight for each; no data is needed.

    Raises `StageError`, see `onnx_scaling.equalized`.
    """

    def scales(proto: Any, pairs: Sequence[Pair], stored: dict[str, Array]) -> Mapping[Pair, Array]:
        import numpy as np

        total: dict[Pair, Array] = {pair: np.ones(pair.width) for pair in pairs}
        trial = dict(stored)
        for _ in range(_SWEEPS):
            moved = 0.0
            for pair in pairs:
                made = reach(trial[pair.makers[0].tensor], pair.makers[0])
                with np.errstate(divide="ignore", invalid="ignore"):
                    # all sweeps together are not extreme either
                    scale = usable(total[pair] * np.sqrt(made / reads(trial, pair))) / total[pair]
                move(trial, pair, scale)
                total[pair] *= scale
                moved = max(moved, float(np.abs(np.log(scale)).max()))
            if moved < _STILL:
                break
        return total

    def unfit(pair: Pair) -> str:
        return "" if pair.made_by in _MAKERS else f"{pair.made_by} makes its input, which is no product"

    return equalized("cross_layer", model, options, context, unfit, scales)


STEPS.add(
    "equalize:cross_layer",
    Step("equalize", "cross_layer", ("onnx",), EqualizeOptions, cross_layer, random=False),
)
