"""Bytes of the files after compression: what zeros and repeated numbers gain where a file is sent compressed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from weighbridge.contracts import (
    MEASURES,
    THRESHOLDS,
    Alike,
    Limit,
    Measure,
    RelativeLimit,
    Threshold,
    Weighing,
)
from weighbridge.core.results import Artifact, Measurement, Reading
from weighbridge.core.units import show
from weighbridge.measure.mistakes import smaller

_CHUNK = 1 << 20


def measure(weighing: Weighing) -> Measurement:
    baseline = compressed(weighing.baseline) if weighing.baseline else None
    return Measurement("gzip", "bytes", compressed(weighing.candidate), baseline)


def compressed(artifact: Artifact) -> int:
    """Bytes of every file of the artifact as `gzip -9` leaves them."""
    return sum(_gzip_bytes(path) for path in artifact.files)


def _gzip_bytes(path: Path) -> int:
    """The length of the output, without keeping it."""
    compressor, total = zlib.compressobj(9, zlib.DEFLATED, 31), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total += len(compressor.compress(chunk))
    return total + len(compressor.flush())


def read_size(measurement: Measurement, limit: Limit) -> Reading:
    return Reading(measurement.candidate)


def read_ratio(measurement: Measurement, limit: Limit) -> Reading:
    assert measurement.baseline is not None  # a relative threshold
    return Reading(measurement.baseline / max(measurement.candidate, 1))


def read_since(now: Measurement, then: Measurement, limit: Limit, alike: Alike) -> Reading:
    return Reading(then.candidate / max(now.candidate, 1))


def advise(measurement: Measurement) -> Sequence[str]:
    if measurement.baseline is None or measurement.candidate < measurement.baseline:
        return []
    return [
        f"the compressed file grew from {show(measurement.baseline, 'bytes')} to {show(measurement.candidate, 'bytes')}: "
        "prune more weights, or use fewer bits"
    ]


MEASURES.add("gzip", Measure("gzip", measure, on_demand=True))
THRESHOLDS.add(
    "gzip_size",
    Threshold(
        "gzip_size",
        "gzip",
        "max",
        "bytes",
        read_size,
        doc="Bytes of the gzip-compressed files; `5 MB` works.",
        advise=advise,
    ),
)
THRESHOLDS.add(
    "gzip_ratio",
    Threshold(
        "gzip_ratio",
        "gzip",
        "min",
        "ratio",
        read_ratio,
        since=read_since,
        options=RelativeLimit,
        mistaken=smaller("gzip_ratio"),
        relative=True,
        advise=advise,
        doc="Bytes of the gzip-compressed files, before over after.",
    ),
)
