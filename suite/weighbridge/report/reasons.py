"""Why a case needs somebody: each reason once, with its place and the command that runs it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weighbridge.contracts import THRESHOLDS
from weighbridge.core.units import compared
from weighbridge.measure.clocked import reads_clock
from weighbridge.report.table import Line

TOLD = ("error", "fail", "inconclusive", "unmeasured")
"""The statuses whose reasons are told; an expected failure's and a skip's are one line a reason."""


@dataclass(frozen=True)
class Reason:
    """`who` is the first case that has it, `others` how many more have it too."""

    status: str
    who: str
    text: str
    place: str
    advice: Sequence[str] = ()
    again: str = ""
    index: int = 0
    """The row of `who` in the report."""
    judged: bool = False
    """Whether it is a measured number, which is the case's own even where another has the same."""
    others: int = 0


def reasons(lines: Sequence[Line], report: Mapping[str, Any], statuses: Sequence[str] = TOLD) -> list[Reason]:
    """The reasons of the cases with one of these statuses, those that several cases share once."""
    found: dict[tuple[str, str, str], Reason] = {}
    said: set[str] = set()
    for line in lines:
        for one in _of(line, report) if line.status in statuses else ():
            key = (one.status, line.name if one.judged else "", one.text)
            if key in found:
                found[key] = replace(found[key], others=found[key].others + 1)
            else:
                # Advice that an earlier case has had already is not repeated.
                found[key] = replace(one, advice=[text for text in one.advice if text not in said])
                said.update(one.advice)
    return list(found.values())


def remarks(lines: Sequence[Line]) -> list[tuple[Line, Mapping[str, Any], str]]:
    """What is to be looked at though its threshold is kept: the case, the verdict, and each text once."""
    found = {
        text: (line, verdict, text)
        for line in reversed(lines)
        for verdict in line.row["verdicts"]
        for text in (verdict["advice"] if verdict["status"] == "pass" else ())
    }
    return list(reversed(found.values()))


def unmeasured(lines: Sequence[Line]) -> dict[str, int]:
    """Why a threshold of a case that was otherwise decided was not, with how often."""
    found: dict[str, int] = {}
    for line in lines:
        for verdict in line.row["verdicts"] if line.status not in ("skip", "error", "unmeasured") else ():
            if verdict["status"] == "skip":
                bench = "--bench" in verdict["message"]
                why = "with --bench only" if bench else _text(verdict["message"], line.row) or "not measured"
                text = f"{verdict['threshold']}: {why}"
                found[text] = found.get(text, 0) + 1
    return found


def _of(line: Line, report: Mapping[str, Any]) -> Iterator[Reason]:
    row = line.row
    wanted = (
        ("skip",) if line.status in ("skip", "unmeasured") else ("fail", "error", "inconclusive", line.status)
    )
    verdicts = [
        verdict
        for status in dict.fromkeys(wanted)
        for verdict in row["verdicts"]
        if verdict["status"] == status
    ]
    again = _again(row, verdicts, report)
    said = {_text(verdict["message"], row) for verdict in verdicts} - {""}
    whole = _text(row["message"], row)
    if not verdicts or (whole and said <= {whole}) or (len(said) == 1 and len(verdicts) > 1):
        # One thing went wrong with the case as a whole.
        text = whole or next(iter(said), "") or line.status
        at = verdicts[0]["line"] if len(verdicts) == 1 and verdicts[0]["line"] else row["line"]
        advice = verdicts[0]["advice"] if verdicts else ()
        judged = any(verdict["measured"] is not None for verdict in verdicts)
        yield Reason(line.status, line.name, text, f"{row['path']}:{at}", advice, again, line.index, judged)
        return
    if whole and not any(text in whole or whole in text for text in said):
        yield Reason(line.status, line.name, whole, f"{row['path']}:{row['line']}", index=line.index)
    alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for verdict in verdicts:
        alike.setdefault((verdict["status"], verdict["message"] or verdict["threshold"]), []).append(verdict)
    for some in alike.values():
        first = some[0]
        status = line.status if first["status"] == "skip" else first["status"]
        place = f"{row['path']}:{first['line'] or row['line']}"
        judged = first["measured"] is not None
        command = again if some[-1] is verdicts[-1] else ""
        yield Reason(
            status, line.name, _sentence(some, row), place, first["advice"], command, line.index, judged
        )


def _sentence(verdicts: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> str:
    """What is wrong with these thresholds, which have the same message, and which they are."""
    first, text = verdicts[0], _text(verdicts[0]["message"], row)
    if text.startswith(first["threshold"]):
        return text
    if not text and first["measured"] is not None:
        return compared(first["threshold"], first["measured"], first["limit"], first["unit"])
    return f"{', '.join(verdict['threshold'] for verdict in verdicts)}: {text or first['status']}"


def _text(message: str, row: Mapping[str, Any]) -> str:
    """The message without the place in front, which is shown at its side."""
    file, _, rest = message.partition(":")
    if file != row["path"] or f"\n{file}:" in message:  # several faults, each with its place
        return message.strip()
    place, _, text = rest.partition(" ")
    return (text if place.strip(":0123456789") == "" else rest).strip()


def _again(row: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> str:
    """The command that runs what was missed, and no more; an audit is not run by pytest."""
    if report["options"].get("audit"):
        return ""
    thresholds = [verdict["threshold"] for verdict in verdicts]
    # What is wrong with a file has the file's own item.
    node = (
        f"{row['case']}::{thresholds[0]}"
        if len(verdicts) == 1 and thresholds[0] != row["name"]
        else row["case"]
    )
    measures = {THRESHOLDS.get(name).measure for name in thresholds if name in THRESHOLDS}
    timed = any(map(reads_clock, measures))
    return f"pytest {shlex.quote(node)}{' --bench' if timed else ''}"
