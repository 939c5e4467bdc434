"""A first case file for a user's own model: ten lines to change, not a manual to read."""

from __future__ import annotations

from pathlib import Path

from weighbridge.contracts import FORMATS
from weighbridge.core.errors import UsageError

_CALIBRATED = {
    "torch": [
        "  - quantize: static",
        "    engine: onnxruntime    # exports to ONNX by itself",
        "    per_channel: true",
    ],
    "exported": ["  - quantize: static", "    engine: onnxruntime", "    per_channel: true"],
    "onnx": ["  - quantize: static", "    per_channel: true"],
    "tflite": ["  - quantize: litert", "    mode: static"],
    "keras": ["  - quantize: tflite", "    mode: full_integer"],
}
_UNCALIBRATED = {
    "torch": ["  - quantize: dynamic", "    engine: onnxruntime    # exports to ONNX by itself"],
    "exported": ["  - quantize: dynamic", "    engine: onnxruntime"],
    "onnx": ["  - quantize: dynamic"],
    "tflite": ["  - quantize: litert", "    mode: dynamic"],
    "keras": ["  - quantize: tflite", "    mode: dynamic_range"],
}
_SHAPES = ("torch", "exported")
"""Formats whose files do not declare the shapes of their inputs."""


def scaffold(model: str, data: str | None) -> str:
    """The text of a case for `model` (a file, or file.py:callable) and `data` (file.py:callable, .npz, or None).

    Without data nothing is calibrated and no accuracy is claimed: the case holds what random inputs can tell, and says
    what to write when there is data. Raises `UsageError` for a file of no known format.
    """
    format_ = format_of(model)
    weights = ", weights: model.safetensors" if format_ == "torch" else ""
    lines = [f"model: {{{format_}: {model}{weights}}}"]
    if data:
        lines += [
            f"data: {data}    # gives the splits test and calibration, each (inputs, targets)",
            "metric: accuracy",
            "recipe:",
            *_CALIBRATED.get(format_, []),
            "thresholds:",
            "  accuracy_drop: 0.01     # at most, absolute",
        ]
    else:
        inputs = (
            "[[3, 224, 224]]    # shapes of one sample, of which random ones are drawn"
            if format_ in _SHAPES
            else "random"
        )
        lines += [
            f"inputs: {inputs}",
            "# with data, better: accuracy is judged, and activations can be calibrated",
            "# data: data.py:splits",
            "recipe:",
            *_UNCALIBRATED.get(format_, []),
            *(f"# {line[2:]}" for line in _CALIBRATED.get(format_, [])),
            "thresholds:",
            "# accuracy_drop: 0.01     # at most, absolute",
        ]
    lines += [
        "  size_ratio: 3           # at least, bytes before over after",
        "  speedup: 1.2            # at least, with --bench",
    ]
    return "\n".join(lines) + "\n"


def format_of(model: str) -> str:
    """The model format that a file's suffix, or `file.py:callable`, speaks of; raises `UsageError`."""
    path, _, callable_name = model.rpartition(":")
    if callable_name and path:
        return "torch"
    suffix = Path(model).suffix
    for format_ in FORMATS:
        if suffix in format_.suffixes and format_.name != "torch":
            return str(format_.name)
    known = sorted({suffix for format_ in FORMATS for suffix in format_.suffixes} - {".safetensors"})
    raise UsageError(f"{model}: a file ending in {', '.join(known)}, or file.py:callable for a torch module")
