"""Speedup: how many times faster the candidate runs than the baseline, judged while it is being measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from weighbridge.contracts import ENGINES, MEASURES, THRESHOLDS, Limit, Measure, Threshold, Weighing
from weighbridge.core.errors import StageError
from weighbridge.core.loads import in_words
from weighbridge.core.results import Measurement, Reading
from weighbridge.engines.profile import explain
from weighbridge.environment import machine
from weighbridge.measure.timing.limits import CONFIDENCE, BenchLimit, with_threads
from weighbridge.measure.timing.load import take_pairs
from weighbridge.measure.timing.loads import fresh_seed
from weighbridge.measure.timing.paired import SpeedSample, compare
from weighbridge.measure.timing.sampler import Sampler


class SpeedupLimit(BenchLimit):
    against: str | None = Field(
        default=None,
        description="The engine that runs the baseline; the candidate's by default, since engines differ by themselves.",
    )


def measure(weighing: Weighing) -> Measurement:
    """Baseline against candidate on one batch, until every limit is cleared or the budget is spent."""
    limits = [limit for limit in weighing.limits if isinstance(limit, SpeedupLimit)]
    options = limits[0] if limits else SpeedupLimit()
    weighing = with_threads(weighing, options.threads)
    return _measure(_against(weighing, options.against), limits, options)


def _measure(weighing: Weighing, limits: Sequence[SpeedupLimit], options: SpeedupLimit) -> Measurement:
    threads = weighing.engine_options.threads
    load_before = machine.load_average()
    sampler = Sampler.of(take_pairs, weighing, ("baseline", "candidate"), options.batch, options.budget)
    sample = compare(
        sampler.here,
        [bound for limit in limits for bound in (limit.min, limit.max) if bound is not None],
        max((limit.confidence or CONFIDENCE for limit in limits), default=CONFIDENCE),
        options.budget,
        elsewhere=sampler.elsewhere,
        seed=fresh_seed(),
    )
    missed = any(limit.min is not None and sample.ratio < limit.min for limit in limits)
    details = summary(sample) | {
        "inputs": weighing.data.kind,
        "batch": options.batch,
        "threads": threads,
        "engine": weighing.engine.name,
        "against": (weighing.baseline_engine or weighing.engine).name,
        "load_before": load_before,
        "why_slow": explain(weighing, weighing.data.sample(options.batch))
        if sample.ratio < 1.0 or missed
        else {},
        "would_decide": sample.would_decide(),
        "machine": machine.complaints(threads),
    }
    weighing.keep("baseline", sample.rounds(0).tolist())
    weighing.keep("candidate", sample.rounds(1).tolist())
    return Measurement("speed", "ms", details["candidate_ms"], details["baseline_ms"], details)


def summary(sample: SpeedSample) -> dict[str, Any]:
    """What a report and a verdict need of a sample, as JSON values."""
    baseline_s, candidate_s = sample.call_s()
    return {
        "ratio": sample.ratio,
        "interval": list(sample.interval),
        "confidence": sample.confidence,
        "decided": sample.decided,
        "sure": min((sample.sure(limit) for limit in sample.limits), default=None),
        "loads": len(sample.loads),
        "processes": sample.processes,
        "spread": sample.spread,
        "ratios": [float(f"{ratio:.6g}") for ratio in sample.ratios],
        "pairs": sum(pairs.ratios.size for pairs in sample.by_load),
        "seconds": sample.seconds,
        "budget": sample.budget_s,
        "baseline_ms": baseline_s * 1e3,
        "candidate_ms": candidate_s * 1e3,
        "disturbed": sample.disturbed,
        "lost": sample.lost,
    }


def _against(weighing: Weighing, name: str | None) -> Weighing:
    """The same weighing with the baseline on the engine `name`, in a format that this engine serves."""
    if name is None or weighing.baseline is None:
        return weighing
    engine, baseline = ENGINES.get(name), weighing.baseline
    if baseline.format not in engine.formats:
        if weighing.original is None:
            raise StageError("measure", f"engine '{name}' does not run a {baseline.format} baseline")
        baseline = weighing.original(engine.formats)
    return replace(weighing, baseline=baseline, baseline_engine=engine)


def read(measurement: Measurement, limit: Limit) -> Reading:
    """Of the median load, with the anytime-valid interval over loads at the confidence it was measured for."""
    details = measurement.details
    low, high = details["interval"]
    return Reading(
        details["ratio"], (max(0.0, low), high), details["confidence"], details["sure"], in_words(details)
    )


def advise(measurement: Measurement) -> Sequence[str]:
    details = measurement.details
    lines = [f"to decide: {line}" for line in details["would_decide"]]
    return [*lines, *details["why_slow"].get("advice", ()), *details["machine"]]


MEASURES.add("speed", Measure("speed", measure, needs=("baseline", "inputs"), bench=True))
THRESHOLDS.add(
    "speedup",
    Threshold(
        "speedup",
        "speed",
        "min",
        "ratio",
        read,
        doc="How many times faster the candidate is than the baseline, both on this machine, in alternation.",
        decide="interval",
        options=SpeedupLimit,
        relative=True,
        advise=advise,
    ),
)
