"""Cold start: from the closed file to the first answer, in a fresh process whose engine is imported."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from weighbridge.contracts import MEASURES, THRESHOLDS, Measure, Threshold, Weighing
from weighbridge.core import stats
from weighbridge.core.results import Measurement
from weighbridge.measure.timing.fresh import Start, start
from weighbridge.measure.timing.limits import BenchLimit, read_candidate, with_threads

CONFIDENCE = 0.95


class ColdStartLimit(BenchLimit):
    budget: float = Field(default=30.0, gt=0)


def measure(weighing: Weighing) -> Measurement:
    """The median over fresh processes, a load each, at least three. Files are in the page cache, as on a machine that serves."""
    limits = [limit for limit in weighing.limits if isinstance(limit, ColdStartLimit)]
    options = limits[0] if limits else ColdStartLimit()
    confidence = options.confidence or CONFIDENCE
    bounds = [bound / 1e3 for bound in (options.min, options.max) if bound is not None]
    weighing = with_threads(weighing, options.threads)
    inputs = weighing.data.sample(options.batch)
    starts: list[Start] = []
    begin = time.monotonic()
    start(weighing, weighing.candidate, inputs)  # brings the files into the page cache
    while True:
        starts.append(start(weighing, weighing.candidate, inputs))
        seconds = [seen.open_s + seen.first_s for seen in starts]
        weighing.say(f"cold start: {len(starts)} processes, {np.median(seconds):.3g} s")
        interval = stats.sequential_interval(seconds, confidence)
        spent = time.monotonic() - begin
        if len(starts) >= 3 and (
            spent >= options.budget or (bounds and stats.clears(interval, bounds, "max"))
        ):
            break
    weighing.keep("candidate", seconds)
    details: dict[str, Any] = {
        "interval": [max(0.0, interval[0]) * 1e3, interval[1] * 1e3],
        "confidence": confidence,
        "loads": len(starts),
        "processes": len(starts),
        "spread": float(np.std(seconds, ddof=1) / np.median(seconds)),
        "by_load": [float(f"{1e3 * one:.6g}") for one in seconds],
        "seconds": spent,
        "open_ms": float(np.median([seen.open_s for seen in starts])) * 1e3,
        "first_ms": float(np.median([seen.first_s for seen in starts])) * 1e3,
        "import_ms": float(np.median([seen.import_s for seen in starts])) * 1e3,
        "batch": options.batch,
        "would_decide": _what_would_decide(seconds, bounds, interval, confidence, spent),
    }
    return Measurement("cold_start", "ms", float(np.median(seconds)) * 1e3, None, details)


def _what_would_decide(
    seconds: list[float], bounds: list[float], interval: tuple[float, float], confidence: float, spent: float
) -> list[str]:
    if not bounds or stats.clears(interval, bounds, "max"):
        return []
    needed = stats.samples_to_decide(seconds, bounds[0], confidence, most=1000)
    return [] if needed is None else [f"a budget of about {1.5 * needed * spent / len(seconds):.2g} s"]


def advise(measurement: Measurement) -> Sequence[str]:
    details = measurement.details
    lines = [f"to decide: {line}" for line in details["would_decide"]]
    return [
        *lines,
        f"opening takes {details['open_ms']:.3g} ms, the first answer {details['first_ms']:.3g} ms",
    ]


MEASURES.add("cold_start", Measure("cold_start", measure, needs=("inputs",), bench=True))
THRESHOLDS.add(
    "cold_start",
    Threshold(
        "cold_start",
        "cold_start",
        "max",
        "ms",
        read_candidate,
        doc="Milliseconds from the closed file to the first answer, in a fresh process (engine imported).",
        decide="interval",
        options=ColdStartLimit,
        advise=advise,
    ),
)
