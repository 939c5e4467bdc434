"""Why a case needs somebody: each reason once, with its place and the command that runs it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weighbridge.contracts import MEASURES
from weighbridge.core.units import show
from weighbridge.report.limits import words
from weighbridge.report.table import Line, column_of

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


def unmeasured(lines: Sequence[Line]) -> dict[str, int]:
    """Why a threshold of a case that was otherwise decided was not, with how often."""
    found: dict[str, int] = {}
    for line in lines:
        for verdict in line.row["verdicts"] if line.status not in ("skip", "error", "unmeasured") else ():
            if verdict["status"] == "skip":
                text = f"{verdict['threshold']}: {_text(verdict['message'], line.row) or 'not measured'}"
                found[text] = found.get(text, 0) + 1
    return found


def _of(line: Line, report: Mapping[str, Any]) -> Iterator[Reason]:
    row = line.row
    wanted = (
        ("skip",) if line.status in ("skip", "unmeasured") else ("fail", "error", "inconclusive", line.status)
    )
    verdicts = [verdict for verdict in row["verdicts"] if verdict["status"] in wanted]
    messages = {verdict["message"] for verdict in verdicts}
    again = _again(row, verdicts, report)
    shared = messages - {""}
    if not verdicts or shared == {row["message"]} or (len(shared) == 1 and len(verdicts) > 1):
        # One thing went wrong with the case as a whole.
        text = _text(row["message"] or next(iter(shared), ""), row) or row["stage"]
        at = verdicts[0]["line"] if len(verdicts) == 1 and verdicts[0]["line"] else row["line"]
        advice = [text for verdict in verdicts[:1] for text in verdict["advice"]]
        judged = any(verdict["measured"] is not None for verdict in verdicts)
        yield Reason(line.status, line.name, text, f"{row['path']}:{at}", advice, again, line.index, judged)
        return
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
        limit = words(first["limit"], first["unit"])
        return f"{first['threshold']} is {show(first['measured'], first['unit'])}, the limit is {limit}"
    return f"{', '.join(verdict['threshold'] for verdict in verdicts)}: {text or first['status']}"


def _text(message: str, row: Mapping[str, Any]) -> str:
    """The message without the place in front, which is shown at its side."""
    file, _, rest = message.partition(":")
    if file != row["path"]:
        return message.strip()
    place, _, text = rest.partition(" ")
    return (text if place.strip(":0123456789") == "" else rest).strip()


def _again(row: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> str:
    """The command that runs what was missed, and no more; an audit is not run by pytest."""
    if report["options"].get("audit"):
        return ""
    node = f"{row['case']}::{verdicts[0]['threshold']}" if len(verdicts) == 1 else row["case"]
    timed = any(column in MEASURES and MEASURES.get(column).bench for column in _columns(verdicts))
    return f"pytest {shlex.quote(node)}{' --bench' if timed else ''}"


def _columns(verdicts: Sequence[Mapping[str, Any]]) -> set[str]:
    return {column_of(verdict["threshold"]) for verdict in verdicts}
