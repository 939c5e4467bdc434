"""A case as an earlier run left it: its numbers and verdicts, small enough to be kept for years."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from weighbridge.core.results import Measurement, to_json

_LISTS = {"interval": 1, "quantiles": 10, "candidate_quantiles": 10}
"""The lists of numbers among a measurement's details that are kept, each so many-th: a distribution of 401 levels is
as well read from 41. Samples are left in the report."""
_TEXT = 200
_VERDICT = ("threshold", "status", "limit", "measured", "unit", "interval", "confidence", "sure")


@dataclass(frozen=True)
class Past:
    """One row of an earlier run. Times are ISO 8601 in UTC."""

    case: str
    """Its node id."""
    run: str
    created: str
    commit: str | None
    branch: str | None
    dirty: bool | None
    machine: str
    """The machine class, within which a speed may be compared."""
    status: str
    seconds: float
    baseline: str = ""
    """Of the original, `identity`; empty where there was none."""
    candidate: str = ""
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    verdicts: tuple[Mapping[str, Any], ...] = ()

    @property
    def shown(self) -> str:
        """`4f2a9c1 of 2026-11-20`: as short as tells which run it was."""
        return f"{(self.commit or self.run)[:7]}{'+' if self.dirty else ''} of {self.created[:10]}"


@dataclass(frozen=True)
class Reference:
    """What a case is compared with: the run that somebody named, or why there is none.

    `timed` is the last run whose speed can be compared, on a machine like this one.
    """

    name: str
    past: Past | None
    why: str = ""
    timed: Past | None = None
    why_timed: str = ""


@dataclass(frozen=True)
class Alike:
    """What an earlier run had the same: every byte, the code that runs it, and the versions of what it ran on."""

    baseline: bool
    candidate: bool


def past_of(report: Mapping[str, Any], row: Mapping[str, Any]) -> Past:
    """What is kept of a row of a report of schema 2."""
    artifacts = row["artifacts"]
    return Past(
        row["case"],
        report["run"],
        report["created"],
        report["commit"],
        report.get("branch"),
        report.get("dirty"),
        row.get("machine_class") or report.get("machine_class") or "",
        # A run that was to judge a part of the case is no mark for the next.
        "skip" if row["status"] == "pass" and row.get("unasked") else row["status"],
        row["seconds"],
        identity(artifacts["baseline"]),
        identity(artifacts["candidate"]),
        {name: _measurement(name, one) for name, one in row["measurements"].items()},
        tuple({key: verdict[key] for key in _VERDICT} for verdict in row["verdicts"]),
    )


def identity(artifact: Mapping[str, Any] | None) -> str:
    """One hash, given the artifact of a row: of its files, the code that they are nothing without, and what ran them.

    What has the same one answers alike, and takes as long. Empty where there are no files, or the hash of one is not known.
    """
    found = sorted(str(file["sha256"] or "") for file in artifact["files"]) if artifact else []
    if artifact is None or not found or not all(found):
        return ""
    return hashlib.sha256(
        " ".join([*found, artifact.get("code", ""), artifact.get("runtime", "")]).encode()
    ).hexdigest()


def measurements_to_json(measurements: Mapping[str, Measurement]) -> dict[str, Any]:
    return {name: to_json(one) for name, one in measurements.items()}


def measurements_from_json(data: Mapping[str, Any]) -> dict[str, Measurement]:
    return {name: _measurement(name, one) for name, one in data.items()}


def reference_to_json(reference: Reference) -> dict[str, Any]:
    data: dict[str, Any] = to_json(reference)
    return data


def reference_from_json(data: Mapping[str, Any]) -> Reference:
    return Reference(**{**data, "past": _read(data["past"]), "timed": _read(data["timed"])})


def figure(measurement: Measurement) -> tuple[float, str]:
    """The number that people follow, and its unit: of a speed how many times faster, else the candidate's own."""
    if measurement.name == "speed":
        return float(measurement.details.get("ratio", math.nan)), "ratio"
    return float(measurement.candidate), measurement.unit


def _read(past: Mapping[str, Any] | None) -> Past | None:
    if past is None:
        return None
    measurements = measurements_from_json(past["measurements"])
    return Past(**{**past, "measurements": measurements, "verdicts": tuple(past["verdicts"])})


def _measurement(name: str, data: Mapping[str, Any]) -> Measurement:
    candidate = math.nan if data["candidate"] is None else data["candidate"]
    return Measurement(name, data["unit"], candidate, data["baseline"], _small(data["details"]))


def _small(details: Mapping[str, Any], depth: int = 2) -> dict[str, Any]:
    """Numbers, short texts, and the lists that say how sure they are."""
    kept: dict[str, Any] = {}
    for key, value in details.items():
        if isinstance(value, Mapping):
            inner = _small(value, depth - 1) if depth else {}
            if inner:
                kept[key] = inner
        elif isinstance(value, list | tuple):
            if key in _LISTS:
                kept[key] = list(value[:: _LISTS[key]] if len(value) > 41 else value)
        elif not isinstance(value, str) or len(value) <= _TEXT:
            kept[key] = value
    return kept
