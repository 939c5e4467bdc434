"""Bytes of the files that would ship, what they are spent on, and the weights alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from weighbridge.contracts import (
    FORMATS,
    MEASURES,
    THRESHOLDS,
    Limit,
    Measure,
    StoredTensor,
    Threshold,
    Weighing,
)
from weighbridge.core.results import Artifact, Measurement, Reading
from weighbridge.core.units import show
from weighbridge.formats.causes import causes, shape_of, stored_twice
from weighbridge.formats.opened import opened
from weighbridge.measure.mistakes import smaller

TOLD = 0.05
"""A cause that takes a smaller share of the file is not worth a line."""
LARGE = 0.2
NAMED = 3
_WORDS = {
    "constants": "scales, zero points and tables of integers",
    "graph": "the graph, which quantizing does not shrink",
    "metadata": "the exporter's metadata (stack traces, paths, documentation), which no engine reads",
    "unused": "tensors that no operator reads",
    "dead": "dead bytes of a data file, to which no tensor points; save it anew",
}


def measure(weighing: Weighing) -> Measurement:
    candidate, shapes = weigh(weighing.candidate)
    details: dict[str, Any] = {"candidate": candidate, "baseline": None, "twice": []}
    if weighing.baseline:
        details["baseline"], had = weigh(weighing.baseline)
        more = shapes - had  # only what has become more can have been stored again
        if more:
            details["twice"] = stored_twice(
                one for one in _tensors(weighing.candidate) if shape_of(one) in more
            )
    baseline = details["baseline"]["file"] if weighing.baseline else None
    return Measurement("size", "bytes", candidate["file"], baseline, details)


def _tensors(artifact: Artifact) -> Iterator[StoredTensor]:
    format_ = FORMATS.get(artifact.format)
    return format_.tensors(opened(artifact))


def weigh(artifact: Artifact) -> tuple[dict[str, Any], Counter[tuple[int, ...]]]:
    """Bytes, and how many matrices there are of each shape; no array is kept.

    `file` is on disk (every file of the artifact), `weights` as stored in it, and `causes` add up to `file`. `wide` are
    the matrices that are not quantized, the `widest` by name.
    """
    weights = 0
    shapes: Counter[tuple[int, ...]] = Counter()
    wide: dict[str, int] = {}
    for tensor in _tensors(artifact):
        weights += tensor.stored_bytes
        shapes[shape_of(tensor)] += 1
        if tensor.is_matrix and tensor.quantization is None and not tensor.unread:
            wide[tensor.name] = tensor.stored_bytes
    del shapes[()]
    found = {
        "file": sum(path.stat().st_size for path in artifact.files),
        "weights": weights,
        "wide": sum(wide.values()),
        "widest": sorted(wide.items(), key=lambda item: -item[1])[:NAMED],
        "causes": causes(artifact, weights),
    }
    return found, shapes


def _absolute(part: str) -> Callable[[Measurement, Limit], Reading]:
    return lambda measurement, limit: Reading(measurement.details["candidate"][part])


def _ratio(part: str) -> Callable[[Measurement, Limit], Reading]:
    return lambda measurement, limit: Reading(
        measurement.details["baseline"][part] / max(measurement.details["candidate"][part], 1)
    )


def advise_file(measurement: Measurement) -> Sequence[str]:
    ours, theirs = measurement.details["candidate"], measurement.details["baseline"]
    return [*advise_weights(measurement), *_largest_cause(ours, theirs)]


def advise_weights(measurement: Measurement) -> Sequence[str]:
    ours, theirs = measurement.details["candidate"], measurement.details["baseline"]
    lines = [
        f"'{each['name']}' is stored twice, again as '{each['again']}': {show(each['bytes'], 'bytes')} that the original "
        "does not spend"
        for each in measurement.details["twice"]
    ]
    if theirs and ours["file"] > theirs["file"]:
        lines.append(f"the file grew from {show(theirs['file'], 'bytes')} to {show(ours['file'], 'bytes')}")
    if theirs and ours["weights"] >= theirs["weights"]:
        lines.append(
            "the stored weights are not smaller: zeros take as much room as other numbers; quantize, "
            "remove whole channels, or gate gzip_ratio"
        )
    elif ours["wide"] >= LARGE * ours["file"] and (not theirs or ours["wide"] < theirs["wide"]):
        names = ", ".join(f"'{name}' ({show(size, 'bytes')})" for name, size in ours["widest"])
        lines.append(
            f"{show(ours['wide'], 'bytes')}, {ours['wide'] / ours['file']:.0%} of the file, are weights left in float: {names}"
        )
    return lines


def _largest_cause(ours: Mapping[str, Any], theirs: Mapping[str, Any] | None) -> Iterator[str]:
    """What takes most beside the weights, and what the threshold would read without it, in both models."""
    cause = max(_WORDS, key=lambda name: ours["causes"][name])
    spent = ours["causes"][cause]
    if spent < TOLD * ours["file"]:
        return
    rest = ours["file"] - spent
    without = show(rest, "bytes")
    if theirs:
        without = show((theirs["file"] - theirs["causes"][cause]) / max(rest, 1), "ratio")
    yield f"{show(spent, 'bytes')}, {spent / ours['file']:.0%} of the file, are {_WORDS[cause]}; without it {without}"


MEASURES.add("size", Measure("size", measure))
for _part, _name, _what in (
    ("file", "size", "the files that ship"),
    ("weights", "weights_size", "the weights as stored"),
):
    THRESHOLDS.add(
        _name,
        Threshold(
            _name,
            "size",
            "max",
            "bytes",
            _absolute(_part),
            doc=f"Bytes of {_what}; `5 MB` works.",
            advise=advise_file if _part == "file" else advise_weights,
        ),
    )
for _part, _name, _what in (
    ("file", "size_ratio", "the files that ship"),
    ("weights", "weights_ratio", "the weights as stored"),
):
    THRESHOLDS.add(
        _name,
        Threshold(
            _name,
            "size",
            "min",
            "ratio",
            _ratio(_part),
            mistaken=smaller(_name),
            relative=True,
            advise=advise_file if _part == "file" else advise_weights,
            doc=f"Bytes of {_what}, before over after.",
        ),
    )
