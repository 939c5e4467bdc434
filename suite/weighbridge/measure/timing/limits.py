"""What limits on a running model take beside their bounds, and what they read of a measurement over its loads."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from weighbridge.contracts import Limit, Weighing
from weighbridge.core.loads import in_words
from weighbridge.core.results import Measurement, Reading

CONFIDENCE = 0.99
"""Of a verdict on speed, unless the case says otherwise."""


class RunLimit(Limit):
    batch: int = Field(default=1, ge=1, description="Samples a call.")
    threads: int | None = Field(
        default=None, ge=1, description="Of the engine; without it the case's engine options, which say one."
    )


class BenchLimit(RunLimit):
    budget: float = Field(
        default=10.0,
        gt=0,
        description="Seconds to reach a verdict in; what is plain takes a fraction of them.",
    )


def with_threads(weighing: Weighing, threads: int | None) -> Weighing:
    """The same weighing with the engine on `threads` threads; None leaves the engine's own."""
    if threads is None:
        return weighing
    return replace(weighing, engine_options=weighing.engine_options.model_copy(update={"threads": threads}))


def read_candidate(measurement: Measurement, limit: Limit) -> Reading:
    """The candidate's own figure with its interval, whatever the limit is."""
    details = measurement.details
    interval = tuple(details["interval"])
    return Reading(measurement.candidate, interval, details["confidence"], note=in_words(details))
