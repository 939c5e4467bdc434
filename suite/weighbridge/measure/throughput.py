"""Throughput: samples a second, one batch after the other. The batch over the median time of a call in the median load."""

from __future__ import annotations

from weighbridge.contracts import MEASURES, THRESHOLDS, Measure, Threshold, Weighing
from weighbridge.core.results import Measurement
from weighbridge.measure.latency import advise, candidate_calls, summary
from weighbridge.measure.mistakes import above_zero
from weighbridge.measure.timing.limits import CONFIDENCE, BenchLimit, read_candidate


class ThroughputLimit(BenchLimit):
    pass


def measure(weighing: Weighing) -> Measurement:
    limits = [limit for limit in weighing.limits if isinstance(limit, ThroughputLimit)]
    options = limits[0] if limits else ThroughputLimit()
    confidence = options.confidence or CONFIDENCE
    bounds = [options.batch / bound for bound in (options.min, options.max) if bound]
    sample = candidate_calls(weighing, options, 0.5, bounds)
    low, high = sample.interval(confidence)
    details = {
        "interval": [options.batch / high, options.batch / low if low else float("inf")],
        "confidence": confidence,
        **summary(sample, options, confidence, bounds),
        "by_load": [float(f"{rate:.6g}") for rate in options.batch / sample.by_load(0.5)],
    }
    return Measurement("throughput", "samples/s", options.batch / sample.at(0.5), None, details)


MEASURES.add("throughput", Measure("throughput", measure, needs=("inputs",), bench=True))
THRESHOLDS.add(
    "throughput",
    Threshold(
        "throughput",
        "throughput",
        "min",
        "samples/s",
        read_candidate,
        doc="Samples a second, batch after batch.",
        decide="interval",
        options=ThroughputLimit,
        mistaken=above_zero("throughput"),
        advise=advise,
    ),
)
