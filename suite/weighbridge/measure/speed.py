"""Speedup: how many times faster the candidate runs than the baseline, judged while it is being measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from pydantic import Field

from weighbridge.contracts import (
    ENGINES,
    MEASURES,
    THRESHOLDS,
    Alike,
    Limit,
    Measure,
    RelativeLimit,
    Threshold,
    Weighing,
)
from weighbridge.core.errors import StageError, Unavailable
from weighbridge.core.loads import in_words
from weighbridge.core.results import Measurement, Reading
from weighbridge.engines.profile import explain
from weighbridge.environment import machine
from weighbridge.measure.mistakes import above_zero
from weighbridge.measure.timing.limits import CONFIDENCE, BenchLimit, with_threads
from weighbridge.measure.timing.load import take_pairs
from weighbridge.measure.timing.loads import fresh_seed
from weighbridge.measure.timing.paired import SpeedSample, compare
from weighbridge.measure.timing.sampler import Sampler

_SAME = ("threads", "batch", "engine", "against")


class SpeedupLimit(BenchLimit, RelativeLimit):
    against: str | None = Field(
        default=None,
        description="The engine that runs the baseline; the candidate's by default, since engines differ by themselves. Or "
        "a branch, a run, a commit or a report file, whose speedup is compared with this one's.",
    )

    @property
    def baseline_engine(self) -> str | None:
        return self.against if self.against in ENGINES else None

    @property
    def earlier(self) -> str | None:
        return self.against if self.baseline_engine is None else None


def measure(weighing: Weighing) -> Measurement:
    """Baseline against candidate on one batch, until every limit is cleared or the budget is spent."""
    limits = [limit for limit in weighing.limits if isinstance(limit, SpeedupLimit)]
    options = limits[0] if limits else SpeedupLimit()
    weighing = with_threads(weighing, options.threads)
    return _measure(_against(weighing, options.baseline_engine), limits, options)


def _measure(weighing: Weighing, limits: Sequence[SpeedupLimit], options: SpeedupLimit) -> Measurement:
    threads = weighing.engine_options.threads
    load_before = machine.load_average()
    sampler = Sampler.of(take_pairs, weighing, ("baseline", "candidate"), options.batch, options.budget)
    with sampler.elsewhere() as elsewhere:
        sample = compare(
            sampler.here,
            [bound for limit in limits for bound in _bounds(limit)],
            max((limit.confidence or CONFIDENCE for limit in limits), default=CONFIDENCE),
            options.budget,
            elsewhere=elsewhere,
            seed=fresh_seed(),
        )
    missed = any(sample.ratio < limit.min for limit in limits if limit.min is not None and not limit.earlier)
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


def _bounds(limit: SpeedupLimit) -> list[float]:
    """What the ratio has to clear. How an earlier run's stands to it is not known here: then the whole budget is spent."""
    return [] if limit.earlier else [bound for bound in (limit.min, limit.max) if bound is not None]


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


def read_since(now: Measurement, then: Measurement, limit: SpeedupLimit, alike: Alike) -> Reading:
    """The speedup over that of then: with the same original in both, the machine's mood of either day is none of it.

    Both ratios have their own errors, on a scale of logarithms: the squares of the half-widths add.
    """
    if not alike.baseline:
        raise Unavailable(
            "the original is another than then (its files, its code or what it runs on), and speeds are compared "
            "through it"
        )
    for name in _SAME:
        if now.details[name] != then.details.get(name):
            raise Unavailable(f"{name} was {then.details.get(name)} then, and is {now.details[name]} now")
    ratio, (low, high) = now.details["ratio"] / then.details["ratio"], now.details["interval"]
    then_low, then_high = then.details["interval"]
    if None in (low, high, then_low, then_high) or min(low, then_low) <= 0:
        return Reading(ratio, (0.0, math.inf), CONFIDENCE)
    below = math.hypot(math.log(now.details["ratio"] / low), math.log(then_high / then.details["ratio"]))
    above = math.hypot(math.log(high / now.details["ratio"]), math.log(then.details["ratio"] / then_low))
    confidence = min(now.details["confidence"], then.details["confidence"])
    return Reading(ratio, (ratio * math.exp(-below), ratio * math.exp(above)), confidence)


def mistaken(limit: Limit) -> str | None:
    """A slip in an engine's name would be a branch that nobody has, and the limit would never be measured; 0 is no limit."""
    near = get_close_matches(limit.earlier, ENGINES.names(), n=1, cutoff=0.9) if limit.earlier else []
    if near:
        return f"there is no engine '{limit.earlier}'; did you mean '{near[0]}'?"
    return above_zero("speedup")(limit)


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
        since=read_since,
        mistaken=mistaken,
        doc="How many times faster the candidate is than the baseline, both on this machine, in alternation.",
        decide="interval",
        options=SpeedupLimit,
        relative=True,
        advise=advise,
    ),
)
