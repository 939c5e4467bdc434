"""The table that terminal and Markdown share: one row a case, a cell a quantity, a line a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weighbridge.contracts import THRESHOLDS
from weighbridge.core.units import show
from weighbridge.report.limits import words

COLUMNS = ("accuracy", "size", "nonzero", "speed")
MARKS = {
    "pass": "✓",
    "fail": "✗",
    "error": "✗",
    "inconclusive": "?",
    "skip": "–",
    "xfail": "x",
    "unmeasured": "·",
}


@dataclass(frozen=True)
class Line:
    """A line of a cell and the status it speaks of; None for a plain number."""

    text: str
    status: str | None = None


@dataclass(frozen=True)
class TableRow:
    """A case: its cells by column, then what does not fit a column."""

    case: str
    status: str
    cells: Mapping[str, Sequence[Line]]
    below: Sequence[Line]


def build(report: Mapping[str, Any]) -> list[TableRow]:
    """The rows of a report, in order."""
    return [_row(row) for row in report["rows"]]


def columns(rows: Sequence[TableRow]) -> list[str]:
    """The columns that have something to show."""
    return [column for column in COLUMNS if any(row.cells[column] for row in rows)]


def _row(row: Mapping[str, Any]) -> TableRow:
    cells: dict[str, list[Line]] = {column: [] for column in COLUMNS}
    below: list[Line] = []
    for column in COLUMNS:
        if column in row["measurements"]:
            cells[column].append(Line(change(row["measurements"][column])))
    said: set[str] = set()
    for verdict in row["verdicts"]:
        measure = THRESHOLDS.get(verdict["threshold"]).measure if verdict["threshold"] in THRESHOLDS else ""
        status, numbers = verdict["status"], _numbers(verdict)
        if measure in cells:
            cells[measure] += [Line(text, status) for text in numbers]
        elif verdict["measured"] is not None:
            below.append(
                Line(f"{MARKS[status]} {verdict['threshold']} {' '.join(numbers).strip()[2:]}", status)
            )
        if status == "pass" or (status == "skip" and verdict["measured"] is None and row["status"] != "skip"):
            continue
        if verdict["message"] not in said:
            said.add(verdict["message"])
            where = "" if verdict["message"].startswith(row["path"]) else f"{row['path']}:{verdict['line']}: "
            below.append(Line(f"{status}: {where}{verdict['message']}", status))
        below += [Line(f"  - {text}") for text in verdict["advice"] if status != "xfail"]
    return TableRow(row["case"], row["status"], cells, below)


def change(measurement: Mapping[str, Any]) -> str:
    """`43.6 → 14.9 kB`: both in the larger one's unit."""
    unit, before, after = measurement["unit"], measurement["baseline"], measurement["candidate"]
    if before is None or after is None:
        return show(after if before is None else before, unit)
    if unit == "fraction":
        return f"{before * 100:.1f} → {after * 100:.1f} %"
    left, right = show(before, unit), show(after, unit)
    if " " in left and " " in right and left.split()[1] == right.split()[1]:
        left = left.split()[0]
    return f"{left} → {right}"


def _numbers(verdict: Mapping[str, Any]) -> list[str]:
    """The measured number against its limit; below it the margin and how sure that is."""
    mark, unit = MARKS[verdict["status"]], verdict["unit"]
    if verdict["measured"] is None:
        return [
            f"{mark} {'--bench' if verdict['status'] == 'skip' and '--bench' in verdict['message'] else verdict['status']}"
        ]

    def number(value: float | None) -> str:
        return (
            "?" if value is None else show(value, unit)
        )  # JSON has no infinity: an interval without an end yet

    lines = [f"{mark} {number(verdict['measured'])} {words(verdict['limit'], unit)}"]
    if verdict["interval"] is not None and unit == "ratio":
        lines.append("  [{}]".format(", ".join(number(end) for end in verdict["interval"])))
    detail = []
    if verdict["margin"]:
        sign = "+" if verdict["margin"] >= 0 else "−"
        detail.append(f"{sign}{number(abs(verdict['margin']))}")
    if verdict["sure"] is not None and verdict["sure"] < 1:
        detail.append(f"{_percent(verdict['sure'])} sure")
    if detail:
        lines.append(f"  {' · '.join(detail)}")
    return lines


def _percent(sure: float) -> str:
    """Never rounded up to certainty."""
    return (
        ">99.9%" if sure > 0.999 else f"{sure * 100:.0f}%" if sure < 0.985 else f"{int(sure * 1000) / 10:g}%"
    )
