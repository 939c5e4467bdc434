"""Peak memory: the most a fresh process ever holds while it opens and runs the model, minus the empty engine."""

from __future__ import annotations

from typing import Any

from weighbridge.contracts import MEASURES, THRESHOLDS, Limit, Measure, Threshold, Weighing
from weighbridge.core.results import Artifact, Measurement, Reading
from weighbridge.measure.timing.fresh import start
from weighbridge.measure.timing.limits import RunLimit, with_threads

PROCESSES = 3


def measure(weighing: Weighing) -> Measurement:
    """The largest of three processes, of candidate and baseline: allocators differ little from run to run."""
    limits = [limit for limit in weighing.limits if isinstance(limit, RunLimit)]
    options = limits[0] if limits else RunLimit()
    weighing = with_threads(weighing, options.threads)
    inputs = weighing.data.sample(options.batch)

    def peaks(artifact: Artifact) -> list[dict[str, int]]:
        seen = [start(weighing, artifact, inputs) for _ in range(PROCESSES)]
        return [
            {"model": one.peak_bytes - one.empty_bytes, "empty": one.empty_bytes, "peak": one.peak_bytes}
            for one in seen
        ]

    candidate = peaks(weighing.candidate)
    # Another engine's baseline would be opened by the wrong one; its memory is not comparable anyway.
    same = weighing.baseline is not None and weighing.baseline.format in weighing.engine.formats
    baseline = peaks(weighing.baseline) if weighing.baseline is not None and same else None
    details: dict[str, Any] = {"candidate": candidate, "baseline": baseline, "batch": options.batch}
    return Measurement(
        "peak_memory",
        "bytes",
        max(one["model"] for one in candidate),
        max(one["model"] for one in baseline) if baseline else None,
        details,
    )


def read(measurement: Measurement, limit: Limit) -> Reading:
    return Reading(measurement.candidate)


MEASURES.add("peak_memory", Measure("peak_memory", measure, needs=("inputs",), bench=True))
THRESHOLDS.add(
    "peak_memory",
    Threshold(
        "peak_memory",
        "peak_memory",
        "max",
        "bytes",
        read,
        doc="Bytes resident at most in a fresh process that opens and runs the model, minus the empty engine.",
        options=RunLimit,
    ),
)
