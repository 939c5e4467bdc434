"""The lines of the table and of its grids, laid out for a terminal of a given width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.contracts import THRESHOLDS
from weighbridge.core.loads import in_words
from weighbridge.core.units import percent, show, span
from weighbridge.report.escape import terminal as clean
from weighbridge.report.grid import Grid
from weighbridge.report.layout import Paint, cut, pad, width_of, wrap
from weighbridge.report.limits import bounds, words
from weighbridge.report.table import MARKS, Cell, Line, Table, status_of

GAP = "   "
EMPTY = Cell("")


def row_lines(lines: Sequence[Line], table: Table, width: int, paint: Paint, verbose: bool) -> list[str]:
    """A header and a line a case. Columns that do not fit are left out, those farthest from failing first."""
    if not lines:
        return []
    texts = {column: _aligned([line.cells.get(column, EMPTY) for line in lines]) for column in table.columns}
    widths = {
        column: max(width_of(_head(column)), *map(width_of, cells))
        for column, cells in texts.items()
        if any(cells)
    }
    names = [clean(line.name) for line in lines]
    longest = max(len("case"), *map(width_of, names))
    judged = {column for line in lines for column, cell in line.cells.items() if cell.status}
    columns = _fitting(widths, table.nearest, width - len(GAP) - min(longest, max(20, width // 3)))
    left_out = [column for column in widths if column in judged and column not in columns]
    if left_out:
        columns = [column for column in columns if column in judged]
    taken = sum(len(GAP) + widths[column] for column in columns)
    name_width = min(longest, width - len(GAP) - taken)
    heads = [pad(_head(column), widths[column]) for column in columns]
    out = [paint(GAP.join([f"{'':3}{pad('case', name_width)}", *heads]).rstrip(), "quiet")]
    for index, line in enumerate(lines):
        lead = f"{paint(MARKS[line.status], line.status)}  {pad(cut(names[index], name_width), name_width)}"
        cells = [
            paint(pad(texts[column][index], widths[column]), line.cells.get(column, EMPTY).status)
            for column in columns
        ]
        if line.stopped:
            cells = [paint(cut(line.stopped, max(width - 3 - name_width - len(GAP), 10)), line.status)]
        out.append(GAP.join([lead, *cells]).rstrip())
        out += _verdicts(line.row, width, paint) if verbose else []
    if left_out and not verbose:
        text = f"not shown for want of width: {', '.join(map(_head, left_out))}"
        out += [paint(f"{'':3}{one}", "quiet") for one in wrap(text, width - 3, "  ")]
    return out


def _head(column: str) -> str:
    return clean(column.replace("_", " "))


def _aligned(cells: Sequence[Cell]) -> list[str]:
    """The texts of a column, with the marks of its numbers below each other."""
    judged = [cell for cell in cells if cell.status not in (None, "skip")]
    longest = max((width_of(clean(cell.value)) for cell in judged), default=0)
    return [
        f"{pad(clean(cell.value), longest)} {MARKS[cell.status]} {clean(cell.tail)}".strip()
        if cell.status and cell.status != "skip" and longest
        else clean(cell.text)
        for cell in cells
    ]


def _fitting(widths: Mapping[str, int], nearest: Sequence[str], room: int) -> list[str]:
    kept = set()
    for column in nearest:
        if column in widths and len(GAP) + widths[column] <= room:
            kept.add(column)
            room -= len(GAP) + widths[column]
    return [column for column in widths if column in kept]


def _verdicts(row: Mapping[str, Any], width: int, paint: Paint) -> list[str]:
    """Every threshold with its limit, margin and sureness, then the notes."""
    out = []
    for verdict in row["verdicts"]:
        unit, status = verdict["unit"], status_of(verdict)
        parts = ["" if verdict["measured"] is None else show(verdict["measured"], unit)]
        if verdict["interval"]:
            low, high = verdict["interval"]
            parts[0] += f" ({span(low, high, unit)})"
        limit = words(verdict["limit"], unit)
        parts.append(f"limit {limit}" if limit else "")
        if bounds(verdict["limit"]) and verdict["margin"] is not None:
            # The distance of two shares is in points.
            parts.append(f"margin {show(verdict['margin'], 'points' if unit == 'fraction' else unit)}")
        if verdict["sure"] is not None and verdict["sure"] < 1:
            parts.append(f"{percent(verdict['sure'])} sure")
        measure = THRESHOLDS.get(verdict["threshold"]).measure if verdict["threshold"] in THRESHOLDS else ""
        parts.append(in_words(row["measurements"].get(measure, {}).get("details", {})))
        text = f"{MARKS[status]} {verdict['threshold']}  {', '.join(filter(None, parts))}".rstrip()
        out += [paint(f"{'':5}{one}", status) for one in wrap(clean(text), width - 5, "  ")]
        # What was missed has its advice with its reason, below the table.
        for advice in verdict["advice"] if verdict["status"] == "pass" else ():
            out += [paint(f"{'':5}{one}", "quiet") for one in wrap(f"  {clean(advice)}", width - 5, "  ")]
    for note in row["notes"]:
        out += [paint(f"{'':5}{one}", "quiet") for one in wrap(f"  {clean(note)}", width - 5, "  ")]
    return out


def grid_lines(grid: Grid, table: Table, width: int, paint: Paint) -> list[str]:
    """A grid a quantity, side by side as far as they fit; empty where not even one does."""
    lines = list(grid.cells.values())
    name_width = max(width_of(clean(text)) for text in (grid.name, *grid.down))
    name_width = min(name_width, width // 3)
    texts = {
        column: {place: clean(_short(line, column)) for place, line in grid.cells.items()}
        for column in table.columns
        if any(column in line.cells for line in lines)
    } or {"": {place: MARKS[line.status] for place, line in grid.cells.items()}}
    step = {
        column: 2 + max(map(width_of, (*grid.across, *cells.values()))) for column, cells in texts.items()
    }
    widths = {column: max(width_of(_head(column)), step[column] * len(grid.across) - 2) for column in texts}
    columns = _fitting(widths, [*table.nearest, ""], width - len(GAP) - name_width)
    if not columns:
        return []

    def across(cells: Sequence[str]) -> str:
        return f"{'':3}{GAP.join(cells)}".rstrip()

    head = [pad(cut(clean(grid.name), name_width), name_width)]
    out = [paint(across([*head, *(pad(_head(column), widths[column]) for column in columns)]), "quiet")]
    values = [
        pad("".join(pad(clean(value), step[column]) for value in grid.across).rstrip(), widths[column])
        for column in columns
    ]
    out.append(paint(across([" " * name_width, *values]), "quiet"))
    for down in grid.down:
        cells = [pad(cut(clean(down), name_width), name_width)]
        for column in columns:
            cells.append("")
            for place in ((down, value) for value in grid.across):
                line = grid.cells.get(place)
                text = texts[column].get(place, "")
                status = line.cells.get(column, Cell("", line.status)).status if line else None
                cells[-1] += paint(pad(text, step[column]), status)
            extra = widths[column] - step[column] * len(grid.across)
            cells[-1] += " " * extra if extra > 0 else ""
        out.append(across(cells))
    return out


def _short(line: Line, column: str) -> str:
    """A cell of a grid: what the candidate has, and the mark."""
    if line.stopped or line.status == "skip":
        return f"{line.status} {MARKS[line.status]}"
    cell = line.cells.get(column, EMPTY)
    after = cell.value.rpartition("→")[2].split(" ±")[0]
    return " ".join(filter(None, (after, MARKS[cell.status] if cell.status else "")))
