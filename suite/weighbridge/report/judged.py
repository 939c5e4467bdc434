"""Whether a row is of all that its case demands: a run with -k, of one item, or without --bench judges a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weighbridge.contracts import MEASURES, THRESHOLDS


def passed(row: Mapping[str, Any]) -> bool:
    """Whether everything passed that a run without --bench judges too."""
    return bool(row["status"] == "pass") and not row.get("unasked")


def unjudged(row: Mapping[str, Any]) -> list[str]:
    """The thresholds and round trips that the run was not to judge, and those that are measured with --bench only."""
    timed = [
        verdict["threshold"]
        for verdict in row["verdicts"]
        if verdict["status"] == "skip" and _measure(verdict["threshold"]) not in ("", *row["measurements"])
    ]
    return [*row.get("unasked", ()), *timed]


def _measure(threshold: str) -> str:
    """What reads the clock for a threshold; empty of others."""
    name = THRESHOLDS.get(threshold).measure if threshold in THRESHOLDS else ""
    return name if name and MEASURES.get(name).bench else ""
