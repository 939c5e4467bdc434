"""How many weights of the artifact are not zero, quantized ones included.

A weight is an element of a stored tensor of two or more dimensions: biases, normalization, scales and integers that
nobody dequantizes are not counted, so that `prune.l1_unstructured(Linear(100, 50), "weight", 0.2)` leaves 4000 of 5000.
"""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.contracts import MEASURES, THRESHOLDS, Limit, Measure, Threshold, Weighing
from weighbridge.core.results import Artifact, Measurement, Reading
from weighbridge.measure.mistakes import not_much_more
from weighbridge.measure.parameters import weights


def measure(weighing: Weighing) -> Measurement:
    nonzero, total = count(weighing.candidate)
    before, before_total = count(weighing.baseline) if weighing.baseline else (None, None)
    return Measurement("nonzero", "count", nonzero, before, {"total": total, "baseline_total": before_total})


def count(artifact: Artifact) -> tuple[int, int]:
    """(weights that are not zero, weights)."""
    nonzero = total = 0
    for tensor in weights(artifact):
        if tensor.is_matrix:
            nonzero, total = nonzero + tensor.nonzero(), total + tensor.array.size
    return nonzero, total


def read_count(measurement: Measurement, limit: Limit) -> Reading:
    return Reading(measurement.candidate)


def read_ratio(measurement: Measurement, limit: Limit) -> Reading:
    """Over the original's weights, so that removing channels counts like zeroing them."""
    return Reading(
        measurement.candidate / max(measurement.details["baseline_total"] or measurement.details["total"], 1)
    )


def advise(measurement: Measurement) -> Sequence[str]:
    before = measurement.baseline
    lines = [f"{measurement.candidate:.0f} of {measurement.details['total']} weights are not zero"]
    if before is not None and measurement.candidate >= before:
        lines.append("no weight was removed: prune more, or check that fine-tuning kept the zeros")
    return lines


MEASURES.add("nonzero", Measure("nonzero", measure))
THRESHOLDS.add(
    "nonzero",
    Threshold(
        "nonzero",
        "nonzero",
        "max",
        "count",
        read_count,
        advise=advise,
        doc="How many weights are not zero, counted in the artifact.",
    ),
)
THRESHOLDS.add(
    "nonzero_ratio",
    Threshold(
        "nonzero_ratio",
        "nonzero",
        "max",
        "fraction",
        read_ratio,
        mistaken=not_much_more("nonzero weights"),
        advise=advise,
        doc="The same, over the number of weights of the original.",
    ),
)
