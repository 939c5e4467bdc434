"""The table that terminal, Markdown and GitHub share: a line a case, a cell a quantity, what failed first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weighbridge.contracts import MEASURES, THRESHOLDS
from weighbridge.core.units import between, percent, show, significant
from weighbridge.report.limits import SIGNS, bounds
from weighbridge.report.names import short_names

ORDER = ("error", "fail", "inconclusive", "unmeasured", "xfail", "unsure", "pass", "skip")
"""From what needs somebody to what needs nobody. `unsure` is a cell's: passed, but less than `SURE`."""
MARKS = {
    "error": "✗",
    "fail": "✗",
    "inconclusive": "?",
    "unmeasured": "·",
    "xfail": "x",
    "unsure": "!",
    "pass": "✓",
    "skip": "·",
}
SURE = 0.95
RANDOM = "random inputs"
FIRST = ("accuracy", "fidelity", "size", "nonzero", "speed")
"""The quantities that people look for, in their order; the others follow as they come."""
_RANK = {status: rank for rank, status in enumerate(ORDER)}


@dataclass(frozen=True)
class Cell:
    """What was measured, a mark, and after it the limit that was missed or how sure the verdict is."""

    value: str
    status: str | None = None
    tail: str = ""

    @property
    def text(self) -> str:
        return " ".join(filter(None, (self.value, MARKS[self.status] if self.status else "", self.tail)))


@dataclass(frozen=True)
class Line:
    """One case. `near` orders by how close it is to failing: smaller is closer."""

    index: int
    """Its place in the report."""
    name: str
    status: str
    row: Mapping[str, Any]
    cells: Mapping[str, Cell] = field(default_factory=dict)
    near: tuple[int, float] = (len(ORDER), math.inf)
    stopped: str = ""
    """Where the case ended before anything was measured."""


@dataclass(frozen=True)
class Table:
    """`lines`: what failed first, else as they ran. `columns`: the quantities known of any case, in the order shown."""

    lines: Sequence[Line]
    columns: Sequence[str]
    nearest: Sequence[str]
    """The columns again, the one closest to failing first: the last are dropped first."""


def build(report: Mapping[str, Any]) -> Table:
    """The table of a report."""
    rows = report["rows"]
    lines = [_line(*one) for one in zip(range(len(rows)), short_names(rows), rows, strict=True)]
    lines.sort(key=lambda line: _RANK[line.status])
    near: dict[str, tuple[int, float]] = {}
    for row in rows:
        for verdict in row["verdicts"]:
            column = column_of(verdict["threshold"])
            near[column] = min(near.get(column, (len(ORDER), math.inf)), nearness(verdict))
    seen = {
        column
        for line in lines
        for column, cell in line.cells.items()
        if cell.status != "skip" or cell.value == RANDOM
    }
    columns = [
        *(column for column in FIRST if column in seen),
        *(column for column in near if column in seen - set(FIRST)),
    ]
    return Table(lines, columns, sorted(columns, key=lambda column: near.get(column, (len(ORDER), math.inf))))


def column_of(threshold: str) -> str:
    """The column of a threshold: the quantity it reads where it is named after it (`size_ratio`, `speedup`).

    Another reading of the same measurement (`gzip_size`, `largest_tensor`) has a column of its own; `round_trip-2`
    stands with `round_trip`.
    """
    measure = THRESHOLDS.get(threshold).measure if threshold in THRESHOLDS else ""
    return measure if measure and threshold.startswith(measure) else threshold.partition("-")[0]


def invented(row: Mapping[str, Any]) -> bool:
    """Whether something was judged that depends on the inputs, and these were random numbers."""
    names = [verdict["threshold"] for verdict in row["verdicts"] if verdict["measured"] is not None]
    measures = {THRESHOLDS.get(name).measure for name in names if name in THRESHOLDS}
    fed = any("inputs" in MEASURES.get(name).needs for name in measures if name in MEASURES)
    return row["inputs"] == "random" and fed


def status_of(verdict: Mapping[str, Any]) -> str:
    """The verdict's status, or `unsure` where it passed and is less than `SURE`."""
    unsure = verdict["status"] == "pass" and verdict["sure"] is not None and verdict["sure"] < SURE
    return "unsure" if unsure else str(verdict["status"])


def nearness(verdict: Mapping[str, Any]) -> tuple[int, float]:
    """How close a verdict is to failing: its status, then its margin over its limit."""
    limits = [abs(value) for value in bounds(verdict["limit"]).values()]
    margin = math.inf if verdict["margin"] is None else verdict["margin"]
    return _RANK[status_of(verdict)], margin / (max(limits, default=0.0) or 1.0)


def _line(index: int, name: str, row: Mapping[str, Any]) -> Line:
    by_column: dict[str, list[Mapping[str, Any]]] = {}
    for verdict in row["verdicts"]:
        by_column.setdefault(column_of(verdict["threshold"]), []).append(verdict)
    judged = any(verdict["measured"] is not None for verdict in row["verdicts"])
    if row["status"] in ("error", "skip") and not judged:
        stage = f"stopped in {row['stage']}" if row["stage"] not in ("", "done") else ""
        return Line(index, name, row["status"], row, near=(_RANK[row["status"]], 0.0), stopped=stage)
    cells = {column: _cell(row, column, verdicts) for column, verdicts in by_column.items()}
    for column in FIRST:
        if column in row["measurements"] and column not in cells:
            cells[column] = Cell(_change(row["measurements"][column]))
    if invented(row) and "accuracy" not in cells:
        cells["accuracy"] = Cell(RANDOM, "skip")
    near = min((nearness(verdict) for verdict in row["verdicts"]), default=(len(ORDER), math.inf))
    return Line(index, name, row["status"], row, cells, near)


def _cell(row: Mapping[str, Any], column: str, verdicts: Sequence[Mapping[str, Any]]) -> Cell:
    """The worst verdict decides the mark; a quantity that several thresholds read shows its own one's number."""
    worst = min(verdicts, key=nearness)
    status = status_of(worst)
    missed = [one for one in verdicts if one["status"] in ("fail", "inconclusive", "xfail", "error")]
    ratios = [one for one in verdicts if one["unit"] == "ratio"]
    lead = next((one for one in [*missed, *ratios, *verdicts] if one["measured"] is not None), None)
    if lead is None:
        return Cell("" if status in ("pass", "fail") else _why(worst), status)
    limits = " ".join(_bounds(one) for one in missed)
    sure = percent(worst["sure"]) if status == "unsure" else ""
    return Cell(_value(row, column, lead), status, limits or sure)


def _value(row: Mapping[str, Any], column: str, verdict: Mapping[str, Any]) -> str:
    """The number that was judged; where it is the candidate's own, or a drop, what it was before too."""
    measurement, measured, unit = row["measurements"].get(column), verdict["measured"], verdict["unit"]
    if measurement and (verdict["threshold"] == f"{column}_drop" or measured == measurement["candidate"]):
        return _change({**measurement, **_earlier(row, column, verdict)})
    if unit != "ratio":
        return show(measured, unit)
    loads = measurement["details"].get("loads") if measurement else None
    parts = show(measured, unit), _half(verdict["interval"]), loads and f"({loads})"
    return " ".join(filter(None, parts))


def _earlier(row: Mapping[str, Any], column: str, verdict: Mapping[str, Any]) -> dict[str, float]:
    """What takes the baseline's place where the limit is on what an earlier run had."""
    changes = (row.get("against") or {}).get("changes", ()) if "against" in verdict["limit"] else ()
    before = [one["before"] for one in changes if one["quantity"] == column]
    return {"baseline": before[0]} if before else {}


def _half(interval: Sequence[float | None] | None) -> str:
    """Half the width of an interval, as `±.02`."""
    if interval is None or None in interval:
        return ""
    half = (float(interval[1] or 0) - float(interval[0] or 0)) / 2
    return f"±{significant(half, 2 if half >= 0.1 else 1).removeprefix('0') or '0'}"


def _change(measurement: Mapping[str, Any]) -> str:
    """`43.6→14.9 kB`: before and after, the unit once where it is the same."""
    unit, before, after = measurement["unit"], measurement["baseline"], measurement["candidate"]
    known = [value for value in (before, after) if value is not None]
    if len(known) < 2:
        return show(known[0], unit) if known else ""
    if unit == "fraction":
        return f"{before * 100:.1f}→{after * 100:.1f} %"
    return between(show(before, unit), show(after, unit))


def _bounds(verdict: Mapping[str, Any]) -> str:
    return " ".join(
        f"{SIGNS[side]}{show(value, verdict['unit'])}" for side, value in bounds(verdict["limit"]).items()
    )


def _why(verdict: Mapping[str, Any]) -> str:
    """Why nothing was measured, in a word."""
    if verdict["status"] == "error":
        return "error"
    return "--bench" if "--bench" in verdict["message"] else "not measured"


def count(statuses: Iterable[str]) -> str:
    """`45 cases: 1 fail, 13 skip, 31 pass`, what needs somebody first."""
    found = list(statuses)
    order = [status for status in ORDER if status not in ("pass", "unsure")] + ["pass"]
    parts = [f"{found.count(status)} {status}" for status in order if status in found]
    return f"{len(found)} case{'s' if len(found) != 1 else ''}: {', '.join(parts) or 'nothing ran'}"
