"""The CSV report: one line a threshold, for a spreadsheet or a data frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.contracts import REPORTS, THRESHOLDS
from weighbridge.report import escape
from weighbridge.report.limits import bounds
from weighbridge.report.text import TextReport

COLUMNS = (
    "case",
    "status",
    "stage",
    "threshold",
    "verdict",
    "limit_min",
    "limit_max",
    "limit_equals",
    "measured",
    "interval_low",
    "interval_high",
    "confidence",
    "sure",
    "margin",
    "unit",
    "baseline",
    "candidate",
    "measurement_unit",
    "seconds",
    "engine",
    "format",
    "inputs",
    "path",
    "line",
    "message",
)


class Csv(TextReport):
    """`reports/latest.csv`, RFC 4180."""

    name = "csv"
    suffix = ".csv"

    def render(self, report: Mapping[str, Any]) -> str:
        """A header, then a line a threshold; a case without a verdict has one line with its message."""
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(COLUMNS)
        for row in report["rows"]:
            for line in _lines(row):
                writer.writerow([_cell(line.get(column)) for column in COLUMNS])
        return buffer.getvalue()


def _lines(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    shared = {
        key: row.get(key)
        for key in ("case", "status", "stage", "seconds", "engine", "path", "line", "message")
    }
    candidate = row["artifacts"]["candidate"]
    shared["format"] = candidate and candidate["format"]
    shared["inputs"] = row["inputs"]
    if not row["verdicts"]:
        yield shared
    for verdict in row["verdicts"]:
        low, high = verdict["interval"] or (None, None)
        name = verdict["threshold"]
        measurement = row["measurements"].get(
            THRESHOLDS.get(name).measure if name in THRESHOLDS else name, {}
        )
        yield {
            **shared,
            **{
                key: verdict.get(key)
                for key in ("threshold", "measured", "confidence", "sure", "margin", "unit")
            },
            **{f"limit_{side}": bound for side, bound in bounds(verdict["limit"]).items()},
            "verdict": verdict["status"],
            "line": verdict.get("line") or row.get("line"),
            "message": verdict.get("message") or row.get("message"),
            "interval_low": low,
            "interval_high": high,
            "baseline": measurement.get("baseline"),
            "candidate": measurement.get("candidate"),
            "measurement_unit": measurement.get("unit"),
        }


def _cell(value: Any) -> Any:
    """Numbers as numbers, so that -0.01 is one; every text as text, so that no formula is."""
    return escape.csv(value) if isinstance(value, str) else value


REPORTS.add("csv", Csv())
