"""A network to store in half the bytes, and the steps that do it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tests.found.onnx_graphs import model, node, weight

from weighbridge.contracts import Context, Model
from weighbridge.core.data import Data
from weighbridge.steps.quantize.onnx_half import Float16Options, HalfOptions, bfloat16, float16

GRAPH: dict[str, Any] = {"compute": "float16"}


def network() -> Model:
    nodes = [
        node("Conv", "x k", "a", "conv", pads=[1] * 4),
        node("Relu", "a", "b", "act"),
        node("GlobalAveragePool", "b", "c", "pool"),
        node("Flatten", "c", "d", "flat"),
        node("Gemm", "d fc.weight fc.bias", "e", "fc"),
        node("Mul", "e two", "y", "twice"),
    ]
    weights = {
        "k": weight(8, 3, 3, 3),
        "fc.weight": weight(8, 32),
        "fc.bias": weight(32),
        "two": np.float32(2),
    }
    return model(nodes, weights, ["n", 3, 8, 8])


def quantize(folder: Path, made: Model, half: str = "float16", **options: Any) -> Model:
    context = Context(folder, folder, 0, Data({}))
    if half == "bfloat16":
        return bfloat16(made, HalfOptions.model_validate(options), context)
    return float16(made, Float16Options.model_validate(options), context)
