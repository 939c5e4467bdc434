"""Bytes of the files that would ship, what they are spent on, and the weights alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from weighbridge.contracts import (
    FORMATS,
    MEASURES,
    THRESHOLDS,
    Alike,
    Limit,
    Measure,
    RelativeLimit,
    StoredTensor,
    Threshold,
    Weighing,
)
from weighbridge.core.errors import StageError
from weighbridge.core.results import Artifact, Measurement, Reading
from weighbridge.core.units import show
from weighbridge.formats.causes import causes, shape_of, stored_twice
from weighbridge.formats.opened import opened
from weighbridge.measure.mistakes import smaller

TOLD = 0.05
"""A cause that takes a smaller share of the file is not worth a line."""
LARGE = 0.2
PADDED, METADATA = 0.1, 8_000
"""The share of an original that need not be explained, and the bytes of metadata that an exporter may write a node."""
NAMED = 3
_WORDS = {
    "constants": "scales, zero points and tables of integers",
    "graph": "the graph, which quantizing does not shrink",
    "metadata": "the exporter's metadata (stack traces, paths, documentation), which no engine reads",
    "unused": "tensors that no operator reads",
    "dead": "dead bytes of a data file, to which no tensor points; save it anew",
}


class RatioLimit(RelativeLimit):
    padded_baseline: bool = False
    """Judge even against an original that is larger than its weights and its graph explain."""


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
        details["padding"] = padding(details["baseline"], candidate)
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
    double = 0
    shapes: Counter[tuple[int, ...]] = Counter()
    wide: dict[str, int] = {}
    for tensor in _tensors(artifact):
        weights += tensor.stored_bytes
        double += tensor.stored_bytes if tensor.dtype == "float64" else 0
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
        "double": double,
        "operators": sum(FORMATS.get(artifact.format).operators(opened(artifact)).values()),
    }
    return found, shapes


def _absolute(part: str) -> Callable[[Measurement, Limit], Reading]:
    return lambda measurement, limit: Reading(measurement.details["candidate"][part])


def _ratio(part: str) -> Callable[[Measurement, Any], Reading]:
    def read(measurement: Measurement, limit: Any) -> Reading:
        ours, theirs = measurement.details["candidate"], measurement.details["baseline"]
        if (told := measurement.details.get("padding")) and not limit.padded_baseline:
            raise StageError("measure", told)
        return Reading(theirs[part] / max(ours[part], 1))

    return read


def _since(part: str) -> Callable[[Measurement, Measurement, Any, Alike], Reading]:
    def read(now: Measurement, then: Measurement, limit: Any, alike: Alike) -> Reading:
        ours, theirs = now.details["candidate"][part], then.details["candidate"][part]
        return Reading(theirs / max(ours, 1))

    return read


def padding(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """What makes the original larger than its weights and its graph explain, in a sentence; empty where little does.

    What the candidate still has as well is no advantage of it. An exporter's own metadata is the graph's: some kB a node.
    """
    spent = {
        "float64 numbers, twice what any engine calculates with": _more("double", theirs, ours) // 2,
        "tensors that no operator reads": _more("unused", theirs["causes"], ours["causes"]),
        "dead bytes of a data file": _more("dead", theirs["causes"], ours["causes"]),
        "metadata that no exporter writes": max(
            _more("metadata", theirs["causes"], ours["causes"]) - METADATA * theirs["operators"], 0
        ),
    }
    spare = sum(spent.values())
    if spare <= PADDED * theirs["file"]:
        return ""
    largest = max(spent, key=lambda name: spent[name])
    return (
        f"{show(spare, 'bytes')}, {spare / theirs['file']:.0%} of the original, are not needed to compare with: above all "
        f"{largest}; a ratio would credit the candidate with them. Compare with a clean original, or state "
        "`padded_baseline: true` beside the limit"
    )


def _more(key: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> int:
    return max(int(theirs[key]) - int(ours[key]), 0)


def advise_file(measurement: Measurement) -> Sequence[str]:
    ours, theirs = measurement.details["candidate"], measurement.details["baseline"]
    return [*advise_weights(measurement), *_largest_cause(ours, theirs)]


def advise_weights(measurement: Measurement) -> Sequence[str]:
    ours, theirs = measurement.details["candidate"], measurement.details["baseline"]
    twice = measurement.details["twice"]
    lines = [
        f"'{each['name']}' is stored twice, again as '{each['again']}': {show(each['bytes'], 'bytes')} that the original "
        "does not spend"
        for each in twice
    ]
    if theirs and ours["file"] > theirs["file"]:
        lines.append(f"the file grew from {show(theirs['file'], 'bytes')} to {show(ours['file'], 'bytes')}")
    if theirs and ours["weights"] >= theirs["weights"] and not twice:
        lines.append(
            "the stored weights are not smaller: zeros take as much room as other numbers; quantize, "
            "remove whole channels, or gate gzip_ratio"
        )
    elif ours["wide"] >= LARGE * ours["file"] and (not theirs or twice or ours["wide"] < theirs["wide"]):
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
            since=_since(_part),
            mistaken=smaller(_name),
            relative=True,
            options=RatioLimit,
            advise=advise_file if _part == "file" else advise_weights,
            doc=f"Bytes of {_what}, before over after.",
        ),
    )
