"""How many numbers the artifact stores as weights, and its largest tensor.

Biases and normalization are parameters too; scales, zero points and integers that nobody dequantizes (shapes,
axes, indices) are none. A weight that several layers share counts once, one that the file stores twice counts twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from weighbridge.contracts import (
    FORMATS,
    MEASURES,
    THRESHOLDS,
    Limit,
    Measure,
    StoredTensor,
    Threshold,
    Weighing,
)
from weighbridge.core.errors import StageError
from weighbridge.core.results import Artifact, Measurement, Reading
from weighbridge.core.units import show
from weighbridge.formats.opened import opened


def weights(artifact: Artifact) -> Iterator[StoredTensor]:
    """The weights of `artifact`; raises `StageError` where one cannot be read, since any count would be too small."""
    format_ = FORMATS.get(artifact.format)
    for tensor in format_.tensors(opened(artifact)):
        if tensor.unread:
            raise StageError("measure", f"the weights cannot be counted: of '{tensor.name}', {tensor.unread}")
        yield tensor


def measure(weighing: Weighing) -> Measurement:
    candidate = survey(weighing.candidate)
    baseline = survey(weighing.baseline)["parameters"] if weighing.baseline else None
    return Measurement("parameters", "count", candidate["parameters"], baseline, candidate)


def survey(artifact: Artifact) -> dict[str, Any]:
    """Parameters, tensors, and name and stored bytes of the largest tensor."""
    parameters = tensors = most = 0
    largest = ""
    for tensor in weights(artifact):
        parameters, tensors = parameters + tensor.array.size, tensors + 1
        if tensor.stored_bytes > most:
            most, largest = tensor.stored_bytes, tensor.name
    return {"parameters": parameters, "tensors": tensors, "largest_bytes": most, "largest": largest}


def read_parameters(measurement: Measurement, limit: Limit) -> Reading:
    return Reading(measurement.candidate)


def read_largest(measurement: Measurement, limit: Limit) -> Reading:
    return Reading(measurement.details["largest_bytes"], note=f"it is '{measurement.details['largest']}'")


def advise_largest(measurement: Measurement) -> Sequence[str]:
    details = measurement.details
    return [
        f"'{details['largest']}' takes {show(details['largest_bytes'], 'bytes')}; quantize it, or split it"
    ]


MEASURES.add("parameters", Measure("parameters", measure, on_demand=True))
THRESHOLDS.add(
    "parameters",
    Threshold(
        "parameters",
        "parameters",
        "max",
        "count",
        read_parameters,
        doc="How many numbers are stored as weights, zeros included.",
    ),
)
THRESHOLDS.add(
    "largest_tensor",
    Threshold(
        "largest_tensor",
        "parameters",
        "max",
        "bytes",
        read_largest,
        advise=advise_largest,
        doc="Bytes of the largest tensor as stored; `2 MB` works.",
    ),
)
