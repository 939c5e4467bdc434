"""Bytes of the files that would ship: as they are, compressed, and the weights alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

from weighbridge.contracts import FORMATS, MEASURES, THRESHOLDS, Limit, Measure, Threshold, Weighing
from weighbridge.core.results import Artifact, Measurement, Reading
from weighbridge.core.units import show
from weighbridge.formats.opened import opened

_CHUNK = 1 << 20


def measure(weighing: Weighing) -> Measurement:
    candidate = weigh(weighing.candidate)
    baseline = weigh(weighing.baseline) if weighing.baseline else None
    details: dict[str, Any] = {"candidate": candidate, "baseline": baseline}
    return Measurement("size", "bytes", candidate["file"], baseline["file"] if baseline else None, details)


def weigh(artifact: Artifact) -> dict[str, int]:
    """Bytes: `file` on disk (every file of the artifact), `gzip` of the same, `weights` as stored in it."""
    format_ = FORMATS.get(artifact.format)
    return {
        "file": sum(path.stat().st_size for path in artifact.files),
        "gzip": sum(_gzip_bytes(path) for path in artifact.files),
        "weights": sum(tensor.stored_bytes for tensor in format_.tensors(opened(artifact))),
    }


def _gzip_bytes(path: Any) -> int:
    """The length of `gzip -9`'s output, without keeping it."""
    compressor, total = zlib.compressobj(9, zlib.DEFLATED, 31), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total += len(compressor.compress(chunk))
    return total + len(compressor.flush())


def _absolute(part: str) -> Callable[[Measurement, Limit], Reading]:
    return lambda measurement, limit: Reading(measurement.details["candidate"][part])


def _ratio(part: str) -> Callable[[Measurement, Limit], Reading]:
    return lambda measurement, limit: Reading(
        measurement.details["baseline"][part] / max(measurement.details["candidate"][part], 1)
    )


def advise(measurement: Measurement) -> Sequence[str]:
    ours, theirs = measurement.details["candidate"], measurement.details["baseline"]
    if not theirs:
        return []
    lines = []
    if ours["file"] > theirs["file"]:
        lines.append(f"the file grew from {show(theirs['file'], 'bytes')} to {show(ours['file'], 'bytes')}")
    if ours["weights"] >= theirs["weights"]:
        lines.append(
            "the stored weights are not smaller: zeros take as much room as other numbers; quantize, "
            "remove whole channels, or gate gzip_ratio"
        )
    elif ours["weights"] < ours["file"] * 0.7:
        lines.append(
            f"weights are only {ours['weights'] / ours['file']:.0%} of the file; "
            "the rest is the graph, which quantizing does not shrink"
        )
    return lines


MEASURES.add("size", Measure("size", measure))
for _part, _name, _what in (
    ("file", "size", "the files that ship"),
    ("gzip", "gzip_size", "the gzip-compressed files"),
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
            advise=advise,
        ),
    )
for _part, _name, _what in (
    ("file", "size_ratio", "the files that ship"),
    ("gzip", "gzip_ratio", "the gzip-compressed files"),
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
            relative=True,
            advise=advise,
            doc=f"Bytes of {_what}, before over after.",
        ),
    )
