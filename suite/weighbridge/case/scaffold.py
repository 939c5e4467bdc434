"""A first case file for a user's own model: ten lines to change, not a manual to read."""

from __future__ import annotations

from pathlib import Path

from weighbridge.contracts import FORMATS
from weighbridge.core.errors import UsageError

_QUANTIZE = {
    "torch": [
        "  - quantize: static",
        "    engine: onnxruntime    # exports to ONNX by itself",
        "    per_channel: true",
    ],
    "exported": ["  - quantize: static", "    engine: onnxruntime", "    per_channel: true"],
    "onnx": ["  - quantize: static", "    per_channel: true"],
    "tflite": ["  - quantize: litert", "    mode: dynamic"],
    "keras": ["  - quantize: tflite", "    mode: dynamic_range"],
}


def scaffold(model: str, data: str | None) -> str:
    """The text of a case for `model` (a file, or file.py:callable) and `data` (file.py:callable, or None).

    Raises `UsageError` for a file of no known format.
    """
    format_ = format_of(model)
    lines = [f"model: {{{format_}: {model}}}"]
    if format_ == "torch":
        lines[0] = f"model: {{torch: {model}, weights: model.safetensors}}"
    if data:
        lines += [
            f"data: {data}    # gives the splits test and calibration, each (inputs, targets)",
            "metric: accuracy",
        ]
    elif format_ in ("torch", "exported"):
        lines.append(
            "inputs: [[3, 224, 224]]    # shapes of one sample; with `data: file.py:callable` accuracy is measured too"
        )
    lines += ["recipe:", *_QUANTIZE.get(format_, [])]
    lines += [
        "thresholds:",
        *(
            ["  accuracy_drop: 0.01     # at most, absolute"]
            if data
            else ["  fidelity: 20            # dB, at least"]
        ),
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
