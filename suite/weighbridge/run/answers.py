"""Whether the candidate answers at all, and can be called as the original is: a file that gives one output for every sample is
small and fast, and no model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weighbridge.contracts import FORMATS, MEASURES, THRESHOLDS, Array, Weighing
from weighbridge.core.batches import items
from weighbridge.core.errors import StageError
from weighbridge.core.listed import few
from weighbridge.formats.called import CALLED
from weighbridge.formats.opened import opened
from weighbridge.formats.training_mode import REMEDY
from weighbridge.run.artifacts import Shipped
from weighbridge.run.job import Job

SAMPLES = 4
FACES = ("onnx", "tflite")
"""Whose files say what they take and give; the user's code would have to build another model for that."""
_BY_NAME = ("onnx", "exported")
"""Called by the original's names, where no conversion renames them."""


def check_answers(job: Job, weighing: Weighing) -> str | None:
    """A note where all outputs are the same for different samples and there is no original to hold them against.

    Where the original's differ, raises `StageError`. Nothing is asked where a threshold judges the outputs, or where
    there is nothing to run the model on.
    """
    asked = {THRESHOLDS.get(name).measure for name in job.plan.wanted if name in THRESHOLDS}
    if any(name == "fidelity" or "metric" in MEASURES.get(name).needs for name in asked):
        return None
    if not (weighing.data.splits or weighing.data.invented) or job.plan.case.sequence:
        return None
    if not _constant(weighing, "candidate"):
        return None
    if weighing.baseline is None or weighing.baseline.format not in weighing.engine.formats:
        return f"the model gives the same output for {SAMPLES} different samples"
    if _constant(weighing, "baseline"):
        return None
    raise StageError(
        "open",
        f"the candidate gives the same output for {SAMPLES} different samples, where the original's differ: whatever its "
        "size and speed, it does not compute what the original does",
    )


def the_original_itself(candidate: Shipped, baseline: Shipped | None) -> Iterator[str]:
    """A note on a candidate that is nothing else."""
    if baseline is not None and candidate.digests == baseline.digests:
        yield "the candidate is the original, byte for byte: what is compared is one file with itself"


def called_otherwise(weighing: Weighing) -> Iterator[str]:
    """Notes on a candidate of the original's format whose inputs or outputs have other names.

    Accuracy reads the first output, so that a lost second one changes no figure, and whoever calls it finds out.
    """
    for what, names, others in _faces(weighing):
        # Only an ONNX model is called by the names that its file gives; others rename them at each conversion.
        by_name = weighing.candidate.format == "onnx"
        if sorted(names) != sorted(others) and (len(names) != len(others) or by_name):
            yield (
                f"the candidate's {what} are {few(others)}, the original's {few(names)}: a program that calls one by name or "
                "position may not call the other"
            )


def in_another_order(weighing: Weighing) -> Iterator[str]:
    """What to know of a candidate that has the names in another order: it is judged by name, which shows none of it."""
    candidate = weighing.candidate
    told = candidate.source.get(CALLED, {}) if candidate.format in _BY_NAME else {}
    if not told:
        return
    ports = FORMATS.get(candidate.format).ports(opened(candidate))
    for what, side in zip(("inputs", "outputs"), ports, strict=True):
        if what in told:
            yield (
                f"the candidate's {what} stand in another order, {few(str(port['name']) for port in side)} where the original "
                f"has {few(told[what])}: a program that calls it by position, and not by name, takes one for another"
            )


def _faces(weighing: Weighing) -> Iterator[tuple[str, list[str], list[str]]]:
    """Inputs, then outputs: the original's names and the candidate's, where both are of one format that has some."""
    if weighing.baseline is None or weighing.baseline.format != weighing.candidate.format:
        return
    if weighing.candidate.format not in FACES:
        return
    format_ = FORMATS.get(weighing.candidate.format)
    ports = zip(*(format_.ports(opened(one)) for one in (weighing.baseline, weighing.candidate)), strict=True)
    for what, sides in zip(("inputs", "outputs"), ports, strict=True):
        names, others = ([str(port["name"]) for port in side] for side in sides)
        yield what, names, others


def as_in_training(weighing: Weighing) -> Iterator[str]:
    """What to know of an original, or of a model that is judged alone, that computes as in training."""
    held = weighing.baseline or weighing.candidate
    if found := FORMATS.get(held.format).in_training(held):
        yield (
            f"the {'original' if weighing.baseline else 'model'} was exported in training mode: {few(found)}. What it "
            f"answers depends on the rest of the batch, or is drawn; {REMEDY}"
        )


def _constant(weighing: Weighing, side: Any) -> bool:
    """Whether every floating output is the same for all samples; False where it cannot be run on them."""
    try:
        inputs = weighing.data.sample(SAMPLES)
        if all(_same(array, axis or 0) for _, array, axis in items(inputs)):
            return False
        outputs = weighing.session(side).run(inputs)
    except Exception:  # what needs the outputs says what is wrong with them
        return False
    floats = [one for one in outputs if one.dtype.kind == "f" and one.ndim and len(one) == SAMPLES]
    return bool(floats) and all(_same(one, 0) for one in floats)


def _same(array: Array, axis: int) -> bool:
    """Whether every slice along `axis` is the first one."""
    import numpy as np

    first = array.take([0], axis) if array.ndim else array
    return bool(np.array_equal(array, np.broadcast_to(first, array.shape)))
