"""Throughput: samples a second, one batch after the other. The batch over the median time of a call."""

from __future__ import annotations

from weighbridge.contracts import MEASURES, THRESHOLDS, Limit, Measure, Threshold, Weighing
from weighbridge.core import stats
from weighbridge.core.results import Measurement, Reading
from weighbridge.measure.latency import advise, candidate_calls, summary
from weighbridge.measure.timing.limits import CONFIDENCE, BenchLimit


class ThroughputLimit(BenchLimit):
    pass


def measure(weighing: Weighing) -> Measurement:
    limits = [limit for limit in weighing.limits if isinstance(limit, ThroughputLimit)]
    options = limits[0] if limits else ThroughputLimit()
    confidence = options.confidence or CONFIDENCE
    bounds = [options.batch / bound for bound in (options.min, options.max) if bound]
    sample = candidate_calls(
        weighing,
        options,
        lambda seen: bool(bounds) and stats.clears(seen.interval(0.5, confidence), bounds, "max"),
    )
    low, high = sample.interval(0.5, confidence)
    interval = [options.batch / high, options.batch / low if low else float("inf")]
    details = {
        "interval": interval,
        "confidence": confidence,
        **summary(sample, options, 0.5, confidence, bounds),
    }
    return Measurement("throughput", "samples/s", options.batch / sample.quantile(0.5), None, details)


def read(measurement: Measurement, limit: Limit) -> Reading:
    details = measurement.details
    return Reading(measurement.candidate, tuple(details["interval"]), details["confidence"])


MEASURES.add("throughput", Measure("throughput", measure, needs=("inputs",), bench=True))
THRESHOLDS.add(
    "throughput",
    Threshold(
        "throughput",
        "throughput",
        "min",
        "samples/s",
        read,
        doc="Samples a second, batch after batch.",
        decide="interval",
        options=ThroughputLimit,
        advise=advise,
    ),
)
