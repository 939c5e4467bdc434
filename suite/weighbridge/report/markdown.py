"""Markdown that fits a pull request comment: the rows of the terminal's table, what failed in an open fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.contracts import REPORTS
from weighbridge.report import escape
from weighbridge.report.against import differences
from weighbridge.report.choices import choices
from weighbridge.report.reasons import Reason, reasons, remarks
from weighbridge.report.table import Cell, Line, Table, build, count
from weighbridge.report.text import TextReport

CHOICES = 20
"""Models whose recipes are compared, at most."""
MOST = 60_000
"""Characters: GitHub refuses a comment of more than 65,536."""
LONGEST = 1000
"""Characters of one text, such as a message: the JSON has the rest."""
SIGNS = {
    "pass": "✅",
    "unsure": "❗",
    "fail": "❌",
    "error": "💥",
    "inconclusive": "❓",
    "unmeasured": "▫️",
    "skip": "⏭️",
    "xfail": "⚠️",
}


def clean(text: object) -> str:
    """Harmless, and no longer than what a reader would read."""
    whole = str(text)
    return escape.markdown(whole if len(whole) <= LONGEST else f"{whole[:LONGEST]}…")


class Markdown(TextReport):
    name = "markdown"
    suffix = ".md"

    def render(self, report: Mapping[str, Any]) -> str:
        """The counts; the cases that need somebody, with their reasons; then what passed and what was skipped."""
        table = build(report)
        told = reasons(table.lines, report)
        skipped = reasons(table.lines, {"options": {}}, ("skip",))
        others = [line for line in table.lines if line.status not in ("pass", "skip")]
        passed = [line for line in table.lines if line.status == "pass"]
        machine = report["machine"]
        cores = f"{machine['cores']} cores" if machine.get("cores") else ""
        facts = ", ".join(str(fact) for fact in (machine.get("cpu"), cores, report["created"]) if fact)
        skips = [f"- {reason.others + 1}: {clean(reason.text)}" for reason in skipped]
        looked_at = [
            f"- {SIGNS['unsure']} **{clean(line.name)}**: {clean(verdict['threshold'])}: {clean(text)}"
            for line, verdict, text in remarks(table.lines)
        ]
        parts = [
            f"## Weighbridge: {count(line.status for line in table.lines)}",
            _rows(others, table, MOST // 4),
            _fold("Reasons", _within([_reason(reason) for reason in told], MOST // 3), shown=True),
            _fold(f"{len(passed)} passed", _rows(passed, table, MOST // 4), shown=not others),
            "\n".join(f"- {clean(choice)}" for choice in choices(table.lines)[:CHOICES]),
            _changes(table.lines),
            _fold("Passed, and to be looked at", _within(looked_at, MOST // 10)),
            _fold("Skipped", _within(skips, MOST // 10)),
            f"<sub>{clean(facts)}</sub>",
        ]
        return "\n\n".join(filter(None, parts)) + "\n"


def _rows(lines: Sequence[Line], table: Table, room: int) -> str:
    if not lines:
        return ""
    columns = [column for column in table.columns if any(column in line.cells for line in lines)]
    head = ["| | case |" + "".join(f" {clean(column.replace('_', ' '))} |" for column in columns)]
    head.append("|---|---|" + "---|" * len(columns))
    rows = []
    for line in lines:
        cells = [_cell(line.cells.get(column, Cell(""))) for column in columns]
        if line.stopped and cells:
            cells[0] = clean(line.stopped)
        rows.append(
            f"| {SIGNS[line.status]} {line.status} | {clean(line.name)} |"
            + "".join(f" {cell} |" for cell in cells)
        )
    return "\n".join([*head, _within(rows, room)])


def _cell(cell: Cell) -> str:
    sign = "✓" if cell.status == "pass" else SIGNS[cell.status] if cell.status else ""
    return " ".join(filter(None, (clean(cell.value), sign, clean(cell.tail))))


def _reason(reason: Reason) -> str:
    """A list item: the case and what is wrong with it; below, the place, advice and the command."""
    others = f" and {reason.others} more" if reason.others else ""
    lines = [
        f"- {SIGNS[reason.status]} **{clean(reason.who)}**{others}: {clean(reason.text)} ({clean(reason.place)})"
    ]
    lines += [f"  - {clean(text)}" for text in reason.advice]
    if reason.again:
        lines.append(f"  - <code>{clean(reason.again)}</code>")
    return "\n".join(lines)


def _fold(summary: str, body: str, shown: bool = False) -> str:
    start = "<details open>" if shown else "<details>"
    return f"{start}<summary>{summary}</summary>\n\n{body}\n\n</details>" if body else ""


def _changes(lines: Sequence[Line]) -> str:
    """How the cases differ from an earlier run, where one was named."""
    found = differences(lines)
    if found is None:
        return ""
    items = [f"- **{clean(line.name)}**: {clean(text)}" for line, text in found.changed]
    items += [f"- {times} case{'s' if times > 1 else ''}: {clean(why)}" for why, times in found.why.items()]
    return _fold(clean(found.title), _within(items, MOST // 6)) or clean(found.title)


def _within(items: Sequence[str], room: int) -> str:
    """As many as fit into so many characters, and how many there are beside."""
    kept: list[str] = []
    for item in items:
        room -= len(item) + 1
        if room < 0:
            break
        kept.append(item)
    if len(kept) < len(items):
        kept.append(f"\n… {len(items) - len(kept)} more: the other reports have them")
    return "\n".join(kept)


REPORTS.add(Markdown.name, Markdown())
