"""The table in the terminal: a line a case, what failed first, each reason once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.contracts import REPORTS
from weighbridge.report.against import differences
from weighbridge.report.choices import choices
from weighbridge.report.escape import no_command
from weighbridge.report.escape import terminal as clean
from weighbridge.report.grid import find_grids
from weighbridge.report.layout import Paint, cut, painter, width_of, wrap
from weighbridge.report.reasons import TOLD, Reason, reasons, remarks, unmeasured
from weighbridge.report.rows import grid_lines, row_lines
from weighbridge.report.table import MARKS, Line, Table, build, count, invented
from weighbridge.report.text import TextReport

MOST = 100
"""Lines at most, whatever the number of cases: the files have them all."""
ROWS = 40
"""Lines at most for cases, grids included."""
FEW = 12
"""Passed cases are folded where the table would be longer than that."""
REASON = 10
"""Lines at most of one reason."""
REMARKS = 3
"""Thresholds that passed and have advice, at most."""
CHANGES = 8
"""Cases that differ from an earlier run, at most."""
CHOICES = 3
"""Models whose recipes are compared, at most."""
SKIPS = 5
"""Reasons for skipping at most."""


def render(report: Mapping[str, Any], color: bool = False, width: int = 100, verbosity: int = 0) -> str:
    """The report as text of `width` columns; with `verbosity` every case, limit, margin, note and reason."""
    table, paint, width = build(report), painter(color), max(width, 40)
    verbose = verbosity > 0
    statuses = [line.status for line in table.lines]
    out = [*_counted(statuses, width, paint), ""]
    if verbose:
        out += row_lines(table.lines, table, width, paint, verbose)
    else:
        out += _folded(table, width, paint)
    tail = _tail(table.lines, width, paint, verbose)
    told = reasons(table.lines, report, (*TOLD, "xfail") if verbose else TOLD)
    before = [None, *(reason.who for reason in told)]
    blocks = [
        _reason(reason, width, paint, verbose, named=reason.who != who)
        for reason, who in zip(told, before, strict=False)
    ]
    changes = [
        *_choices(table.lines, width, verbose),
        *_changes(table.lines, width, paint, verbose),
    ]
    out += _within(blocks, len(out) + len(changes) + len(tail), paint, verbose)
    out += changes
    return no_command("\n".join([*out, *tail]).rstrip("\n") + "\n")


def _counted(statuses: Sequence[str], width: int, paint: Paint) -> list[str]:
    """The counts, each in its colour."""
    return [
        re.sub(r"\d+ (\w+)(?=,|$)", lambda found: paint(found.group(), found.group(1)), line)
        for line in wrap(count(statuses), width, "    ")
    ]


def _folded(table: Table, width: int, paint: Paint) -> list[str]:
    """The rows and grids that fit, and how many are not shown."""
    grids: list[str] = []
    placed: set[int] = set()
    room = ROWS // 2
    for grid in find_grids(table.lines):
        lines = grid_lines(grid, table, width, paint)
        if lines and len(lines) <= room:
            grids += ["", *lines]
            room -= len(lines)
            placed |= {line.index for line in grid.cells.values()}
    single = [line for line in table.lines if line.index not in placed and line.status != "skip"]
    others = [line for line in single if line.status != "pass"]
    shown = _share(others, ROWS - len(grids))
    passed = sorted((line for line in single if line.status == "pass"), key=lambda line: line.near)
    near = passed if len(single) <= FEW else passed[: max(3, FEW - len(shown))]
    shown += sorted(near, key=lambda line: line.index)
    out = row_lines(shown, table, width, paint, verbose=False)
    more = Counter(line.status for line in others) - Counter(line.status for line in shown)
    if more:
        text = ", ".join(f"{n} more {status}" for status, n in more.items())
        out += [paint(line, "quiet") for line in wrap(f"   … {text} (-v shows them)", width, "     ")]
    if len(passed) > len(near):
        out.append(paint(f"   … {len(passed) - len(near)} more passed (-v shows them)", "quiet"))
    return [*out, *(grids if out else grids[1:])]


def _share(lines: Sequence[Line], room: int) -> list[Line]:
    """As many of `lines` as there is room for, of every status some; in their order."""
    kept: set[int] = set()
    by_status: dict[str, list[Line]] = {}
    for line in lines:
        by_status.setdefault(line.status, []).append(line)
    for rank in range(max(map(len, by_status.values()), default=0)):
        for some in by_status.values():
            if rank < len(some) and len(kept) < room:
                kept.add(some[rank].index)
    return [line for line in lines if line.index in kept]


def _reason(reason: Reason, width: int, paint: Paint, verbose: bool, named: bool) -> list[str]:
    """The case and what is wrong, the place at the right, then advice and the command to run it again.

    A second reason of the same case is not `named` again.
    """
    others = f" and {reason.others} more" if reason.others else ""
    who = (
        f"{MARKS[reason.status]} {cut(clean(reason.who), width - 2 - len(others))}{others}"
        if named
        else "   "
    )
    text, place = clean(reason.text, lines=True), clean(reason.place)
    lines = wrap(f"{who}  {text}" if named else text, width if named else width - 4, "    " if named else "")
    lines = lines if named else [f"    {line}" for line in lines]
    room = width - width_of(lines[-1]) - width_of(place)
    if lines[0].startswith(who):
        lines[0] = paint(who, reason.status) + lines[0].removeprefix(who)
    if room >= 2:
        lines[-1] += " " * room + paint(place, "quiet")
    else:
        lines.append(f"    {paint(place, 'quiet')}")
    for advice in reason.advice:
        lines += [f"    {line}" for line in wrap(clean(advice, lines=True), width - 4, "  ")]
    if len(lines) > REASON and not verbose:
        lines = [*lines[: REASON - 1], "    … (-v shows all of it)"]
    return [*lines, f"    {clean(reason.again)}"] if reason.again else lines


def _within(blocks: Sequence[list[str]], used: int, paint: Paint, verbose: bool) -> list[str]:
    """As many reasons as there is room for."""
    out = [""] if blocks else []
    for index, block in enumerate(blocks):
        if not verbose and used + len(out) + len(block) + 1 > MOST:
            out.append(paint(f"… {len(blocks) - index} more reasons (-v shows them)", "quiet"))
            break
        out += block
    return out


def _choices(lines: Sequence[Line], width: int, verbose: bool) -> list[str]:
    """Which of a model's recipes to ship, a sentence a model."""
    found = choices(lines)
    shown = found if verbose else found[:CHOICES]
    out = [line for choice in shown for line in wrap(clean(f"→ {choice}"), width, "    ")]
    return ["", *out] if out else []


def _changes(lines: Sequence[Line], width: int, paint: Paint, verbose: bool) -> list[str]:
    """What differs from the earlier run that was named, a line a case."""
    found = differences(lines)
    if found is None:
        return []
    out = ["", *wrap(clean(found.title), width, "  ")]
    for line, text in found.changed if verbose else found.changed[:CHANGES]:
        out += wrap(f"   {clean(line.name)}  {clean(text)}", width, "     ")
    if len(found.changed) > CHANGES and not verbose:
        out.append(paint(f"   … {len(found.changed) - CHANGES} more (-v shows them)", "quiet"))
    for why, times in found.why.items():
        wrapped = wrap(clean(f"{MARKS['skip']} {times} case{'s' if times > 1 else ''}: {why}"), width, "    ")
        out += [paint(one, "skip") for one in wrapped[: None if verbose else 4]]
    return out


def _tail(lines: Sequence[Line], width: int, paint: Paint, verbose: bool) -> list[str]:
    """What nobody has to mend: what was expected to fail, skipped, or not asked for."""
    out: list[str] = []
    expected = sum(line.status == "xfail" for line in lines)
    if expected and not verbose:
        out.append(paint(f"x {expected} failed as expected (-v shows why)", "xfail"))
    random = sum(invented(line.row) for line in lines)
    if random:
        text = f"! {random} measured on random inputs, which say nothing of real data"
        out.append(paint(cut(text, width), "unsure"))
    passed = [] if verbose else remarks(lines)  # its row has said it
    for line, verdict, text in passed[:REMARKS]:
        wrapped = wrap(clean(f"! {line.name}: {verdict['threshold']} passed; {text}"), width, "    ")
        out += [paint(one, "unsure") for one in wrapped[:4]]
    if len(passed) > REMARKS:
        out.append(paint(f"! {len(passed) - REMARKS} more passed with advice (-v shows it)", "unsure"))
    said = [
        *(
            (f"{reason.others + 1} skipped", reason.text)
            for reason in reasons(lines, {"options": {}}, ("skip",))
        ),
        *((f"{n} not measured", text) for text, n in unmeasured(lines).items()),
    ]
    for who, text in said if verbose else said[:SKIPS]:
        wrapped = wrap(clean(f"{MARKS['skip']} {who}: {text}"), width, "    ")
        shown = wrapped if verbose else wrapped[:3]
        out += [
            paint(line, "skip")
            for line in [*shown[:-1], shown[-1] + (" …" if len(shown) < len(wrapped) else "")]
        ]
    if len(said) > SKIPS and not verbose:
        out.append(
            paint(
                f"{MARKS['skip']} {len(said) - SKIPS} more reasons for not measuring (-v shows them)", "skip"
            )
        )
    return ["", *out] if out else []


class Terminal(TextReport):
    name = "terminal"
    suffix = ".txt"

    def render(self, report: Mapping[str, Any]) -> str:
        return render(report)


REPORTS.add(Terminal.name, Terminal())
