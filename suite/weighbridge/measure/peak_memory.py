"""Peak memory: the most a fresh process and its children hold while it opens and runs the model, minus the empty engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from weighbridge.contracts import MEASURES, THRESHOLDS, Measure, Threshold, Weighing
from weighbridge.core import stats
from weighbridge.core.results import Artifact, Measurement
from weighbridge.measure.timing.fresh import Start, start
from weighbridge.measure.timing.limits import RunLimit, read_candidate, with_threads

CONFIDENCE = 0.95
LEAST, MOST = 3, 12
"""Processes. At 0.95 seven that agree decide; where twelve do not, the limit lies among what the allocator does."""


def measure(weighing: Weighing) -> Measurement:
    """The median over fresh processes, a load each, of candidate and baseline; more until the limits are cleared."""
    limits = [limit for limit in weighing.limits if isinstance(limit, RunLimit)]
    options = limits[0] if limits else RunLimit()
    confidence = options.confidence or CONFIDENCE
    bounds = [bound for bound in (options.min, options.max) if bound is not None]
    weighing = with_threads(weighing, options.threads)
    inputs = weighing.data.sample(options.batch)

    def starts(artifact: Artifact, enough: Callable[[Sequence[Start]], bool]) -> list[Start]:
        seen = list[Start]()
        while len(seen) < LEAST or not (len(seen) >= MOST or enough(seen)):
            seen.append(start(weighing, artifact, inputs))
            weighing.say(f"peak memory: {len(seen)} processes")
        return seen

    def interval(seen: Sequence[Start]) -> tuple[float, float]:
        return stats.sequential_interval(_model_bytes(seen), confidence)

    candidate = starts(
        weighing.candidate, lambda seen: not bounds or stats.clears(interval(seen), bounds, "max")
    )
    # Another engine's baseline would be opened by the wrong one; its memory is not comparable anyway.
    same = weighing.baseline is not None and weighing.baseline.format in weighing.engine.formats
    baseline = starts(weighing.baseline, lambda _: True) if weighing.baseline is not None and same else None
    held, (low, high) = _model_bytes(candidate), interval(candidate)
    details: dict[str, Any] = {
        "interval": [max(0.0, low), high],
        "confidence": confidence,
        "loads": len(candidate),
        "processes": len(candidate),
        "spread": float(np.std(held, ddof=1) / np.median(held)),
        "candidate": _told(candidate),
        "baseline": _told(baseline) if baseline else None,
        "batch": options.batch,
    }
    return Measurement(
        "peak_memory",
        "bytes",
        float(np.median(held)),
        float(np.median(_model_bytes(baseline))) if baseline else None,
        details,
    )


def _model_bytes(starts: Sequence[Start]) -> list[float]:
    return [float(seen.peak_bytes - seen.empty_bytes) for seen in starts]


def _told(starts: Sequence[Start]) -> list[dict[str, int]]:
    return [
        {"model": one.peak_bytes - one.empty_bytes, "empty": one.empty_bytes, "peak": one.peak_bytes}
        for one in starts
    ]


MEASURES.add("peak_memory", Measure("peak_memory", measure, needs=("inputs",), bench=True))
THRESHOLDS.add(
    "peak_memory",
    Threshold(
        "peak_memory",
        "peak_memory",
        "max",
        "bytes",
        read_candidate,
        doc="Bytes resident at most in a fresh process and its children that run the model, minus the empty engine.",
        decide="interval",
        options=RunLimit,
    ),
)
