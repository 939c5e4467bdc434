"""How a `.tflite` is called, where the file itself does not say it.

TensorFlow's converter writes inputs and outputs in an order of its own, and a file with a quantized input takes whole
numbers as codes, where the model that it was made of takes them as the numbers that they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from weighbridge.core.results import Artifact
from weighbridge.formats.called import CALLED
from weighbridge.formats.tflite_file import TFLiteFile


def called_as(candidate: Artifact, original: Artifact) -> Artifact:
    """The candidate, told in which order its original takes inputs and gives outputs, and whether that one takes numbers.

    An original of another format is known to take numbers, and nothing else.
    """
    told: dict[str, Any] = dict(candidate.source.get(CALLED, {}))
    numbers = True
    if original.format == "tflite":
        file = TFLiteFile(original.path.read_bytes(), original.path.name)
        numbers = not file.takes_codes()
        told |= _order(file, original.source.get(CALLED, {}))
    if numbers:
        told["numbers"] = True
    return replace(candidate, source={**candidate.source, CALLED: told})


def _order(file: TFLiteFile, told: Mapping[str, Any]) -> dict[str, list[str]]:
    """By names, as far as a signature has some."""
    signature = file.signature()
    if signature is None:
        return {}
    inputs, outputs = list(signature.inputs.values()), list(signature.outputs.values())
    return {"inputs": list(told.get("inputs", inputs)), "outputs": list(told.get("outputs", outputs))}
