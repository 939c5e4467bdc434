"""Latency: milliseconds from a batch to its answer, at a percentile of the calls."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from weighbridge.contracts import MEASURES, THRESHOLDS, Measure, Threshold, Weighing
from weighbridge.core import stats
from weighbridge.core.results import Measurement
from weighbridge.environment import machine
from weighbridge.measure.timing.calls import CallSample, sample_calls, take_calls
from weighbridge.measure.timing.limits import CONFIDENCE, BenchLimit, read_candidate, with_threads
from weighbridge.measure.timing.loads import WORTH_WAITING, fresh_seed
from weighbridge.measure.timing.sampler import Sampler

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PERCENTILES = (50, 95, 99)
DRAWN = 200
"""So many calls stand in the report."""


class LatencyLimit(BenchLimit):
    percentile: Literal[50, 95, 99] = 50


def measure(weighing: Weighing) -> Measurement:
    """The candidate's p50, p95 and p99, and the interval of the percentile that is judged."""
    limits = [limit for limit in weighing.limits if isinstance(limit, LatencyLimit)]
    options = limits[0] if limits else LatencyLimit()
    confidence = options.confidence or CONFIDENCE
    bounds = [bound / 1e3 for bound in (options.min, options.max) if bound is not None]
    sample = candidate_calls(weighing, options, options.percentile / 100, bounds)
    low, high = sample.interval(confidence)
    details: dict[str, Any] = {f"p{percent}": sample.at(percent / 100) * 1e3 for percent in PERCENTILES}
    details |= {
        "inputs": weighing.data.kind,
        "percentile": options.percentile,
        "interval": [low * 1e3, high * 1e3],
        "confidence": confidence,
    }
    details |= summary(sample, options, confidence, bounds)
    details["by_load"] = [float(f"{ms:.6g}") for ms in sample.by_load(sample.quantile) * 1e3]
    details["samples"] = [float(f"{ms:.6g}") for ms in evenly(sample.durations * 1e3)]
    return Measurement("latency", "ms", details[f"p{options.percentile}"], None, details)


def evenly(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most `DRAWN` of the values, at even distances, in their order."""
    return values[:: -(-values.size // DRAWN)] if values.size else values


def candidate_calls(
    weighing: Weighing, options: BenchLimit, quantile: float, bounds: Sequence[float]
) -> CallSample:
    """Calls of the candidate on one batch until the interval of `quantile` clears `bounds`, in seconds.

    With the engine's threads as the limit says.
    """
    weighing, confidence = with_threads(weighing, options.threads), options.confidence or CONFIDENCE
    take = partial(take_calls, quantile=quantile)
    sampler = Sampler.of(take, weighing, ("candidate",), options.batch, options.budget)
    with sampler.elsewhere() as elsewhere:
        sample = sample_calls(
            sampler.here,
            lambda seen: bool(bounds) and stats.clears(seen.interval(confidence), bounds, "max"),
            options.budget,
            quantile,
            elsewhere=elsewhere,
            seed=fresh_seed(),
        )
    weighing.keep("candidate", sample.durations.tolist())
    return sample


def summary(
    sample: CallSample, options: BenchLimit, confidence: float, bounds: Sequence[float]
) -> dict[str, Any]:
    """What a report needs of a sample besides its figures, JSON values; times in seconds."""
    advice = []
    if bounds and not stats.clears(sample.interval(confidence), bounds, "max"):
        times = sample.votes.times_to_decide(bounds[0], confidence, WORTH_WAITING)
        if sample.disturbed > 0.5:
            advice.append(
                f"a quieter machine: {sample.disturbed:.0%} of the calls were slowed by something else"
            )
        if times is not None:
            wanted = 1.5 * max(times * sample.spent_s, options.budget)
            advice.append(f"a budget of about {wanted:.2g} s")
    return {
        "batch": options.batch,
        "calls": int(sample.durations.size),
        "loads": len(sample.loads),
        "processes": sample.processes,
        "spread": sample.spread,
        "seconds": sample.spent_s,
        "disturbed": sample.disturbed,
        "would_decide": advice,
        "machine": machine.complaints(options.threads or 1),
    }


def advise(measurement: Measurement) -> Sequence[str]:
    details = measurement.details
    return [*(f"to decide: {line}" for line in details["would_decide"]), *details["machine"]]


MEASURES.add("latency", Measure("latency", measure, needs=("inputs",), bench=True))
THRESHOLDS.add(
    "latency",
    Threshold(
        "latency",
        "latency",
        "max",
        "ms",
        read_candidate,
        doc="Milliseconds a call takes, at `percentile` 50 (the default), 95 or 99.",
        decide="interval",
        options=LatencyLimit,
        advise=advise,
    ),
)
