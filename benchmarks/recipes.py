"""What is carried out twice: by `bare.py`, a script, and as case files through pytest. Plain data, and its YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Recipe = Mapping[str, Any]
"""`name`, `steps` (each as a case file writes it), and the `engine` that serves the result."""

STATIC = {"quantize": "static", "engine": "onnxruntime", "per_channel": True, "reduce_range": True}
DIGITS = {
    "folder": "digits",
    "model": {"torch": "model.py:cnn", "weights": "cnn.safetensors"},
    "data": "model.py:digits",
}
RESIDUAL = {
    "folder": "fashion",
    "model": {"torch": "model.py:resnet", "weights": "resnet.safetensors"},
    "data": "model.py:clothes",
}
EFFICIENTNET = {"folder": "efficientnet", "model": {"torch": "model.py:lite0"}, "data": "model.py:photos"}
ORIENTATION = {"folder": "orientation", "model": {"onnx": "model.py:network"}, "data": "model.py:pages"}


def prune(amount: float) -> Recipe:
    return {"prune": "l1_unstructured", "amount": amount, "scope": "global"}


def on(engine: str, name: str, *steps: Recipe) -> Recipe:
    return {"name": name, "engine": engine, "steps": list(steps)}


ONE = [on("onnxruntime", "static", STATIC)]
TWENTY = [
    on(
        "onnxruntime",
        f"{amount:.2f}",
        prune(amount),
        {"finetune": {"epochs": 2, "lr": 1e-3}},
        STATIC,
    )
    for amount in (0.3 + 0.03 * number for number in range(20))
]
ORT = [
    {"quantize": "dynamic", "engine": "onnxruntime"},
    {"quantize": "dynamic", "engine": "onnxruntime", "reduce_range": True},
    {"quantize": "static", "engine": "onnxruntime"},
    STATIC,
]
TORCH = [
    {"quantize": "dynamic", "engine": "torch"},
    {"quantize": "dynamic", "engine": "torch", "per_channel": True},
    {"quantize": "int8_dynamic", "engine": "torch"},
    {"quantize": "int8_weight_only", "engine": "torch"},
]
"""All that torch serves without editing the model: dense layers, in a CNN its head."""
SWEEP = [
    on(engine, f"{engine}-{amount}-{number}", prune(amount), step)
    for engine, steps in (("onnxruntime", ORT), ("torch", TORCH))
    for amount in (0.3, 0.5, 0.7)
    for number, step in enumerate(steps)
]


def case_file(subject: Mapping[str, Any], recipes: Sequence[Recipe]) -> str:
    """JSON, which is YAML. The thresholds pass: they ask for accuracy and size, as `bare.py` measures them."""
    cases = [{"name": each["name"], "recipe": each["steps"]} for each in recipes]
    shared = {"model": subject["model"], "data": subject["data"]}
    return json.dumps(
        {**shared, "thresholds": {"accuracy_drop": 0.99, "size_ratio": 0.9}, "cases": cases}, indent=1
    )
