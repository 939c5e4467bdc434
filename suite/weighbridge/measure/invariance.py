"""Metamorphic checks on the whole artifact: what must not change an answer, measured.

A batch of n against n batches of one, the batch in another order, a second run, another number of threads. The
difference is the largest over all outputs, relative to the output's root mean square: 0 is identical, float
arithmetic in another order gives 1e-7 to 1e-6, and dynamic quantization, whose activation scale is the batch's,
gives its quantization step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from weighbridge.contracts import (
    MEASURES,
    THRESHOLDS,
    Array,
    Inputs,
    Limit,
    Measure,
    Session,
    Threshold,
    Weighing,
)
from weighbridge.core.batches import count, take
from weighbridge.core.results import Measurement, Reading

SAMPLES = 8
RUNS = 3

Outputs: TypeAlias = tuple[Array, ...]


def measure(weighing: Weighing) -> Measurement:
    """The three differences, of the candidate and for comparison of the baseline, on up to 8 samples."""
    inputs = weighing.data.sample(SAMPLES)
    baseline, candidate = weighing.sessions()
    threads = weighing.engine_options.model_copy(update={"threads": weighing.engine_options.threads + 1})
    other = weighing.engine.open(weighing.candidate, threads)
    size = count(inputs)
    order = np.roll(np.arange(size), 1)

    def by_ones(session: Session) -> Outputs:
        parts = [session.run(_one(inputs, position)) for position in range(size)]
        return tuple(np.concatenate(each) for each in zip(*parts, strict=True))

    def reordered(session: Session) -> Outputs:
        outputs = session.run(take(inputs, order))
        return tuple(output[np.argsort(order)] for output in outputs)

    whole = candidate.run(inputs)
    batch = difference(whole, by_ones(candidate))
    details = {
        "inputs": weighing.data.kind,
        "samples": size,
        "permutation": difference(whole, reordered(candidate)),
        "runs": max(difference(whole, candidate.run(inputs)) for _ in range(RUNS)),
        "threads": difference(whole, other.run(inputs)),
    }
    reference = None if baseline is None else difference(baseline.run(inputs), by_ones(baseline))
    return Measurement("invariance", "", batch, reference, details)


def _one(inputs: Inputs, position: int) -> Inputs:
    return take(inputs, slice(position, position + 1))


def difference(one: Outputs, two: Outputs) -> float:
    """The largest |a - b| over the root mean square of a, over all outputs; infinite where shapes or NaN differ."""
    largest = 0.0
    for a, b in zip(one, two, strict=True):
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return float("inf")
        finite = np.isfinite(a)
        values, others = a[finite].astype(np.float64), b[finite].astype(np.float64)
        gap = float(np.abs(values - others).max(initial=0.0))
        if gap:
            largest = max(
                largest, gap / float(np.sqrt(np.mean(np.square(values)))) if np.any(values) else float("inf")
            )
    return largest


def _reader(*keys: str) -> Callable[[Measurement, Limit], Reading]:
    """The largest of some details; the candidate's own number without any."""

    def read(measurement: Measurement, limit: Limit) -> Reading:
        values = [measurement.details[key] for key in keys] or [measurement.candidate]
        return Reading(max(values))

    return read


def _advise_batch(measurement: Measurement) -> Sequence[str]:
    if measurement.baseline is not None and measurement.candidate > 100 * max(measurement.baseline, 1e-7):
        return [
            "the float model answers alike: dynamic quantization takes its activation scale from the whole batch, "
            "so that neighbours change an answer; use `quantize: static`"
        ]
    return ["a layer mixes the samples of a batch, such as batch normalization left in training mode"]


def _advise_determinism(measurement: Measurement) -> Sequence[str]:
    runs, threads = measurement.details["runs"], measurement.details["threads"]
    return [
        f"two runs differ by {runs:.2g}, another thread count by {threads:.2g}; dropout or sampling left on?"
    ]


MEASURES.add("invariance", Measure("invariance", measure, needs=("inputs",), on_demand=True))
for _name, _keys, _advise, _doc in (
    ("batch_invariance", (), _advise_batch, "A batch of n against n batches of one"),
    ("permutation_invariance", ("permutation",), _advise_batch, "The batch in another order"),
    ("determinism", ("runs", "threads"), _advise_determinism, "A second run, and one with another thread"),
):
    THRESHOLDS.add(
        _name,
        Threshold(
            _name,
            "invariance",
            "max",
            "",
            _reader(*_keys),
            advise=_advise,
            doc=f"{_doc}: the largest difference of the outputs over their root mean square.",
        ),
    )
