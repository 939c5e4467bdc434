"""The table in the terminal: legible at 100 columns, coloured, advice under each failure."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.contracts import REPORTS
from weighbridge.report.escape import terminal as clean
from weighbridge.report.table import Line, build, columns
from weighbridge.report.text import TextReport

_COLORS = {
    "pass": "32",
    "fail": "31;1",
    "error": "31;1",
    "inconclusive": "33;1",
    "unmeasured": "36",
    "skip": "36",
    "xfail": "33",
}
_CASE_WIDTH = 22


def render(report: Mapping[str, Any], color: bool = False, width: int = 100) -> str:
    """The report as a table of text."""
    from tabulate import tabulate

    rows = build(report)
    shown = columns(rows)

    def paint(text: str, status: str | None) -> str:
        return f"\033[{_COLORS[status]}m{text}\033[0m" if color and status in _COLORS else text

    def cell(lines: Sequence[Line]) -> str:
        return "\n".join(paint(clean(line.text), line.status) for line in lines)

    table = []
    for row in rows:
        name = _fold(clean(row.case))
        table.append(
            [
                "\n".join([*name, paint(row.status.upper(), row.status)]),
                *(cell(row.cells[column]) for column in shown),
            ]
        )
    text = tabulate(
        table, headers=["case", *shown], tablefmt="simple", disable_numparse=True, preserve_whitespace=True
    )
    lines = text.splitlines()
    out, position = [*lines[:2]], 2
    for row, cells in zip(rows, table, strict=True):
        height = max(value.count("\n") + 1 for value in cells)
        out += [line.rstrip() for line in lines[position : position + height]]
        position += height
        for line in row.below:
            wrapped = textwrap.wrap(
                clean(line.text, lines=True).replace("\n", " "),
                max(width - 2, 40),
                subsequent_indent="    ",
                break_long_words=False,
                drop_whitespace=True,
            ) or [""]
            lead = "  " if not line.text.startswith("  ") else "    "
            out += [
                lead + paint(part.strip() if index == 0 else part, line.status)
                for index, part in enumerate(wrapped)
            ]
        out.append("")
    counts = Counter(row.status for row in rows)
    out.append(
        " · ".join(paint(f"{counts[status]} {status}", status) for status in _COLORS if counts[status])
    )
    return "\n".join(out) + "\n"


def _fold(case: str) -> list[str]:
    """`cases/digits/cnn.yaml::prune-int8` on lines of their own: the file's folder and name, then the case."""
    file, _, name = case.partition("::")
    parts = ["/".join(file.split("/")[-2:]).removesuffix(".yaml").removesuffix(".yml"), name]
    return [piece for part in parts if part for piece in textwrap.wrap(part, _CASE_WIDTH)]


class Terminal(TextReport):
    name = "terminal"
    suffix = ".txt"

    def render(self, report: Mapping[str, Any]) -> str:
        return render(report)


REPORTS.add(Terminal.name, Terminal())
