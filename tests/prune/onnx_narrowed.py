"""An ONNX graph made narrower by `prune: neurons`, and what is looked at in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tests.found.onnx_graphs import model, node, weight

from weighbridge.contracts import STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.engines.onnxruntime import OnnxRuntimeSession

NEURONS = STEPS.get("prune:neurons")


def samples(made: Model, n: int = 16) -> Any:
    shape = [axis.dim_value or 6 for axis in made.value.graph.input[0].type.tensor_type.shape.dim[1:]]
    return np.random.default_rng(0).standard_normal((n, *shape)).astype(np.float32)


def narrow(made: Model, folder: Path, **options: Any) -> Model:
    data = Data(splits={"test": (samples(made), None)})
    return NEURONS.apply(made, NEURONS.options.model_validate(options), Context(folder, folder, 0, data))


def shapes(made: Model) -> dict[str, list[int]]:
    return {tensor.name: list(tensor.dims) for tensor in made.value.graph.initializer}


def answers(made: Model, x: Any) -> Any:
    return OnnxRuntimeSession(made.value.SerializeToString()).run((x,))[0]


def mlp() -> Model:
    nodes = [
        node("Gemm", "x one.weight one.bias", "a", "first", transB=1),
        node("Relu", "a", "b"),
        node("Gemm", "b two.weight two.bias", "c", "second", transB=1),
        node("Tanh", "c", "d"),
        node("Gemm", "d three.weight", "y", "third", transB=1),
    ]
    weights = {
        "one.weight": weight(32, 12), "one.bias": weight(32), "two.weight": weight(64, 32), "two.bias": weight(1, 64),
        "three.weight": weight(4, 64),
    }  # fmt: skip
    return model(nodes, weights, ["n", 12])
