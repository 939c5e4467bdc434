"""Metamorphic checks on the whole artifact: what must not change an answer, measured.

A batch of n against n batches of one, a batch larger than accuracy is read in against parts of it, the batch in another
order, a second run, another number of threads. The difference is the largest over all outputs, relative to the output's
root mean square: 0 is identical, float arithmetic in another order gives 1e-7 to 1e-6, and dynamic quantization, whose
activation scale is the batch's, gives its quantization step.
"""

from __future__ import annotations

import time
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
from weighbridge.core.arrays import is_text
from weighbridge.core.batches import count, nbytes, take
from weighbridge.core.errors import StageError
from weighbridge.core.results import Measurement, Reading

SAMPLES = 8
CROWD = 129
"""Samples of the larger batch: more than two batches of those that accuracy is read in."""
CROWD_BYTES, CROWD_S = 2**20, 5.0
"""Of its inputs, and about what it may take: a model that wants more is asked for fewer samples."""
RUNS = 3
STEP = 0.5
"""Of the output's root mean square: no step of a quantizer whose answers are of use is as large."""
RUINED = 1e9
"""Of what cannot be compared: reports hold no infinity."""

Outputs: TypeAlias = tuple[Array, ...]


def measure(weighing: Weighing) -> Measurement:
    """The three differences, of the candidate and for comparison of the baseline, on up to 8 samples."""
    inputs = weighing.data.sample(SAMPLES)
    baseline, candidate = weighing.sessions()
    threads = weighing.engine_options.model_copy(update={"threads": weighing.engine_options.threads + 1})
    other = weighing.engine.open(weighing.candidate, threads)
    size = count(inputs)
    order = shuffled(size)

    def by_ones(session: Session, whole: Outputs) -> float:
        parts = [session.run(_one(inputs, position)) for position in range(size)]
        columns = list(zip(*parts, strict=True))
        axes = batch_axes(whole, parts[0], size)
        return difference(
            tuple(whole[at] for at in axes), tuple(np.concatenate(columns[at], axes[at]) for at in axes)
        )

    def reordered(session: Session, whole: Outputs) -> float:
        outputs, axes = (
            session.run(take(inputs, order)),
            batch_axes(whole, session.run(_one(inputs, 0)), size),
        )
        blocks = {at: np.split(outputs[at], size, axis) for at, axis in axes.items()}
        back = tuple(
            np.concatenate([blocks[at][row] for row in np.argsort(order)], axis) for at, axis in axes.items()
        )
        return difference(tuple(whole[at] for at in axes), back)

    def in_a_crowd(session: Session, many: Inputs) -> float:
        parts = [session.run(take(many, slice(start, start + size))) for start in range(0, count(many), size)]
        outputs = session.run(many)
        axes = batch_axes(outputs, session.run(_one(inputs, 0)), count(many))
        columns = list(zip(*parts, strict=True))
        return difference(
            tuple(outputs[at] for at in axes), tuple(np.concatenate(columns[at], axes[at]) for at in axes)
        )

    began = time.monotonic()
    whole = candidate.run(inputs)
    many = _crowd(weighing, size, time.monotonic() - began, nbytes(inputs, None))
    ones, crowd = by_ones(candidate, whole), in_a_crowd(candidate, many)
    details = {
        "inputs": weighing.data.kind,
        "samples": size,
        "batch": size if ones >= crowd else count(many),
        "permutation": reordered(candidate, whole),
        "runs": max(difference(whole, candidate.run(inputs)) for _ in range(RUNS)),
        "threads": difference(whole, other.run(inputs)),
    }
    reference = (
        None if baseline is None else max(by_ones(baseline, baseline.run(inputs)), in_a_crowd(baseline, many))
    )
    return Measurement("invariance", "", max(ones, crowd), reference, details)


def _crowd(weighing: Weighing, size: int, seconds: float, taken: int) -> Inputs:
    """As many samples as there are for it, given that `size` took so many seconds and bytes."""
    affordable = min(
        CROWD, size * CROWD_BYTES // max(taken, 1), int(size * CROWD_S / (4 * max(seconds, 1e-9)))
    )
    return weighing.data.sample(max(size, affordable))


def shuffled(size: int) -> Array:
    """`[7, 5, 3, 1, 0, 2, 4, 6]`: places are others, and so are neighbours, which a turn of the whole would leave."""
    places = np.arange(size)
    return np.concatenate([places[1::2][::-1], places[::2]])


def _one(inputs: Inputs, position: int) -> Inputs:
    return take(inputs, slice(position, position + 1))


def batch_axes(whole: Outputs, one: Outputs, n: int) -> dict[int, int]:
    """The axis along which each output for `n` samples is `n` times as long as for one, by the output's position.

    A recurrent network may have it behind the time. An output without one, such as a scalar, is left out. Raises
    `StageError` where an output's shape changes in another way, or none has such an axis.
    """
    found = {}
    for position, (many, single) in enumerate(zip(whole, one, strict=True)):
        sizes = list(zip(many.shape, single.shape, strict=False))
        changed = [axis for axis, (a, b) in enumerate(sizes) if a != b]
        if (
            many.ndim != single.ndim
            or len(changed) > 1
            or any(sizes[axis][0] != n * sizes[axis][1] for axis in changed)
        ):
            raise StageError(
                "measure",
                f"output {position} has shape {many.shape} for {n} samples and {single.shape} for one, so it cannot be told "
                "which part of it answers which sample",
            )
        if changed:
            found[position] = changed[0]
    if not found:
        raise StageError("measure", f"no output is longer for {n} samples than for one, so none answers them")
    return found


def difference(one: Outputs, two: Outputs) -> float:
    """The largest |a - b| over the root mean square of a, over all outputs; `RUINED` where shapes or NaN differ.

    Words, as the names of classes, differ wholly: by 1.
    """
    largest = 0.0
    for a, b in zip(one, two, strict=True):
        if is_text(a) and a.shape == b.shape:
            largest = max(largest, float(not np.array_equal(a, b)))
            continue
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return RUINED
        finite = np.isfinite(a)
        values, others = a[finite].astype(np.float64), b[finite].astype(np.float64)
        gap = float(np.abs(values - others).max(initial=0.0))
        if gap:
            largest = max(
                largest, gap / float(np.sqrt(np.mean(np.square(values)))) if np.any(values) else RUINED
            )
    return largest


def _reader(*keys: str) -> Callable[[Measurement, Limit], Reading]:
    """The largest of some details; the candidate's own number without any."""

    def read(measurement: Measurement, limit: Limit) -> Reading:
        values = [measurement.details[key] for key in keys] or [measurement.candidate]
        return Reading(max(values))

    return read


def _advise_batch(measurement: Measurement) -> Sequence[str]:
    batch, samples = measurement.details["batch"], measurement.details["samples"]
    if batch > samples and measurement.candidate > STEP:
        return [
            f"a batch of {batch} is answered otherwise than in parts of {samples}: something depends on a sample's place in the "
            "batch, such as a table or a shape from the batch that it was exported with; export it anew"
        ]
    if measurement.baseline is not None and measurement.candidate > 100 * max(measurement.baseline, 1e-7):
        return [
            "the float model answers alike: dynamic quantization takes its activation scale from the whole batch, "
            "so that neighbours change an answer; use `quantize: static`"
        ]
    return [
        "a layer mixes the samples of a batch, such as batch normalization left in training mode; or the model makes much of "
        "rounding, which differs with the size of a batch, on invented inputs above all: then `data` of its own shows less"
    ]


def _advise_determinism(measurement: Measurement) -> Sequence[str]:
    runs, threads = measurement.details["runs"], measurement.details["threads"]
    return [
        f"two runs differ by {runs:.2g}, another thread count by {threads:.2g}; dropout or sampling left on?"
    ]


MEASURES.add("invariance", Measure("invariance", measure, needs=("inputs",), on_demand=True))
for _name, _keys, _advise, _doc in (
    (
        "batch_invariance",
        (),
        _advise_batch,
        "A batch of n against n batches of one, and a larger one against parts of it",
    ),
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
