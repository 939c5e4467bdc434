"""Graphs in which scales can be moved, and how the steps move them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.found.onnx_graphs import model, node, samples, weight

from weighbridge.contracts import STEPS, Context, Model
from weighbridge.core.data import Data

WAYS = pytest.mark.parametrize("way", ["smooth_quant", "cross_layer"])


def equalize(folder: Path, made: Model, way: str, **options: Any) -> Model:
    step = STEPS.get(f"equalize:{way}")
    if way == "smooth_quant":
        options = {"alpha": 0.5, **options}
    labelled = (samples(made), np.zeros(64))
    data = Data(splits={"calibration": labelled, "test": labelled})
    return step.apply(made, step.options.model_validate(options), Context(folder, folder, 0, data))


def moved(made: Model) -> str:
    return next(note for note in made.notes if note.startswith("scales moved"))


def mlp(**weights: Any) -> Model:
    nodes = [
        node("Gemm", "x one.weight one.bias", "a", "first", transB=1),
        node("Relu", "a", "b", "act"),
        node("MatMul", "b two", "c", "second"),
        node("Add", "c two.bias", "d", "added"),
        node("LeakyRelu", "d", "e", "leaky"),
        node("Gemm", "e three", "y", "third"),
    ]
    every = {
        "one.weight": weight(24, 12), "one.bias": weight(24), "two": weight(24, 16), "two.bias": weight(16),
        "three": weight(16, 6),
    }  # fmt: skip
    return model(nodes, {**every, **weights}, ["n", 12])


def attention(gain: Any = None) -> Model:
    """A normalization that three products read, dense layers behind another one, and sums around both."""
    width = 16
    nodes = [
        node("LayerNormalization", "x norm1.gain norm1.shift", "n1", "norm1"),
        node("MatMul", "n1 query", "q", "query"),
        node("MatMul", "n1 key", "k", "key"),
        node("MatMul", "n1 value", "v", "value"),
        node("Transpose", "k", "kt", "turn", perm=[0, 2, 1]),
        node("MatMul", "q kt", "s", "scores"),
        node("Softmax", "s", "p", "soft", axis=-1),
        node("MatMul", "p v", "o", "mix"),
        node("MatMul", "o out", "u", "out"),
        node("Add", "x u", "r", "residual"),
        node("LayerNormalization", "r norm2.gain norm2.shift", "n2", "norm2"),
        node("Reshape", "n2 rows", "n3", "rows"),
        node("MatMul", "n3 up", "h", "up"),
        node("Add", "h up.bias", "i", "up_bias"),
        node("Relu", "i", "j", "act"),
        node("MatMul", "j down", "y", "down"),
    ]
    loud = np.ones(width, np.float32) if gain is None else gain
    weights = {
        "norm1.gain": loud, "norm1.shift": weight(width), "norm2.gain": loud, "norm2.shift": weight(width) * loud,
        "query": weight(width, width) / loud[:, None], "key": weight(width, width) / loud[:, None],
        "value": weight(width, width) / loud[:, None], "out": weight(width, width), "up": weight(width, 32) / loud[:, None],
        "up.bias": weight(32), "down": weight(32, width), "rows": np.array([-1, width]),
    }  # fmt: skip
    return model(nodes, weights, ["n", 6, width])
