"""Markdown that fits a pull request comment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from weighbridge.contracts import REPORTS
from weighbridge.report.escape import markdown as clean
from weighbridge.report.table import build, columns
from weighbridge.report.text import TextReport

_SIGNS = {
    "pass": "✅",
    "fail": "❌",
    "error": "💥",
    "inconclusive": "❓",
    "skip": "⏭️",
    "xfail": "⚠️",
    "unmeasured": "▫️",
}


class Markdown(TextReport):
    name = "markdown"
    suffix = ".md"

    def render(self, report: Mapping[str, Any]) -> str:
        rows = build(report)
        shown = columns(rows)
        counts = Counter(row.status for row in rows)
        lines = [
            "## Weighbridge: "
            + ", ".join(f"{counts[status]} {status}" for status in _SIGNS if counts[status]),
            "",
        ]
        lines += ["| | case | " + " | ".join(shown) + " |", "|---|---|" + "---|" * len(shown)]
        for row in rows:
            cells = ["<br>".join(clean(line.text.strip()) for line in row.cells[column]) for column in shown]
            lines.append(
                f"| {_SIGNS[row.status]} {row.status} | {clean(row.case)} | " + " | ".join(cells) + " |"
            )
        for row in rows:
            if row.below:
                lines += ["", f"**{clean(row.case)}**", ""]
                lines += [
                    f"{'  ' if line.text.startswith('  ') else ''}- {clean(line.text.strip().removeprefix('- '))}"
                    for line in row.below
                ]
        machine = report["machine"]
        lines += [
            "",
            f"<sub>{clean(machine.get('cpu', ''))}, {clean(machine.get('cores', ''))} cores, {clean(report['created'])}</sub>",
            "",
        ]
        return "\n".join(lines)


REPORTS.add(Markdown.name, Markdown())
