"""Limits tightened to what a run reached, in the case file's own text: comments and layout stay, nothing is loosened."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.case.load import load_cases
from weighbridge.case.model import Case, ThresholdRef
from weighbridge.case.text import Document, KeyPath, Mark, read
from weighbridge.contracts import MEASURES, THRESHOLDS
from weighbridge.core.units import SCALES, parse, show
from weighbridge.propose.budgets import FIDELITY_MARGIN, SIZE_MARGIN, SPEED_MARGIN

DIGITS = 3
"""Of a new limit, rounded to the side that is easier to keep."""
_LINE = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_TEXT = re.compile(r"""(['"]?)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)(\s*[a-zA-Zµ%]*)\s*\1""")


@dataclass(frozen=True)
class Tightened:
    """One limit of a file: the text that stands at `start` and what takes its place, or why nothing does."""

    name: str
    start: Mark
    old: str
    new: str
    why: str
    """What was reached, or what keeps it as it is."""


def tighten(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[Tightened]:
    """Every limit of a case file that can be tightened, or that cannot and why, given the rows of a run of it.

    A limit that several cases share is tightened as far as all of them reached. Raises `CaseError` for a faulty file.
    """
    cases, document = load_cases(path), read(path)
    by_name = {row["name"]: row for row in rows}
    sharing: dict[tuple[Mark, str], list[tuple[Case, ThresholdRef]]] = {}
    places: dict[tuple[Mark, str], KeyPath] = {}
    for case in cases:
        for ref in case.thresholds:
            if (where := _place(document, ref)) is not None:
                key = (document.marks[where], ref.name)
                places[key] = where
                sharing.setdefault(key, []).append((case, ref))
    marks = [mark for mark, _ in sharing]
    text = _decoded(path)
    found = []
    for (mark, name), pairs in sharing.items():
        old = _slice(text, mark, document.ends[places[mark, name]])
        if marks.count(mark) > 1:
            found.append(Tightened(name, mark, old, old, "another threshold has the same value by an alias"))
        else:
            found.append(_one(name, mark, old, pairs, by_name))
    return sorted(found, key=lambda one: one.start)


def edited(path: Path, found: Iterable[Tightened]) -> str:
    """The text of the file with the new limits in it."""
    text = _decoded(path)
    starts = _line_starts(text)
    for one in sorted(found, key=lambda one: one.start, reverse=True):
        at = starts[one.start[0] - 1] + one.start[1] - 1
        text = text[:at] + one.new + text[at + len(one.old) :]
    return text


def write(path: Path, text: str) -> None:
    """With the byte order mark that it had, if any; raises `OSError`."""
    mark = b"\xef\xbb\xbf" if path.read_bytes().startswith(b"\xef\xbb\xbf") else b""
    path.write_bytes(mark + text.encode("utf-8"))


def diff(path: Path, text: str) -> str:
    """What would change, as a patch."""
    old, new = (content.splitlines(keepends=True) for content in (_decoded(path), text))
    return "".join(difflib.unified_diff(old, new, f"a/{path.as_posix()}", f"b/{path.as_posix()}"))


def _place(document: Document, ref: ThresholdRef) -> KeyPath | None:
    """Where the bound stands that makes the threshold harder to keep; None where the file states none."""
    side = THRESHOLDS.get(ref.name).side
    if getattr(ref.limit, side) is None or ref.limit.earlier:
        return None
    key = next((where for where, mark in document.keys.items() if mark == (ref.line, ref.column)), None)
    if key is None:
        return None
    return (*key, side) if (*key, side) in document.marks else key


def _one(
    name: str,
    mark: Mark,
    old: str,
    pairs: Sequence[tuple[Case, ThresholdRef]],
    rows: Mapping[str, Mapping[str, Any]],
) -> Tightened:
    def stays(why: str) -> Tightened:
        return Tightened(name, mark, old, old, why)

    threshold = THRESHOLDS.get(name)
    stated = getattr(pairs[0][1].limit, threshold.side)
    written = _TEXT.fullmatch(old)
    if written is None or not math.isclose(_value(written, threshold.unit), stated, rel_tol=1e-9):
        return stays("it is no number of its own (an anchor, or an expression): edit it by hand")
    reached = []
    for case, ref in pairs:
        verdict = next(
            (one for one in rows.get(case.name, {}).get("verdicts", ()) if one["threshold"] == name), None
        )
        if verdict is None or verdict["status"] != "pass" or verdict["measured"] is None:
            state = verdict["status"] if verdict else "no row"
            return stays(f"{case.name}: {state} in the report, and only what passed is tightened")
        if verdict["limit"].get(threshold.side) != getattr(ref.limit, threshold.side):
            return stays("it was another limit in that run; run again")
        if verdict["interval"] is None and verdict["sure"] != 1.0:
            return stays(f"{case.name}: it is measured on samples that do not tell how sure it is")
        reached.append(_bound(verdict, threshold.side, MEASURES.get(threshold.measure).bench))
    upper = threshold.side == "max"
    bound = max(reached) if upper else min(reached)
    if upper and threshold.relative:
        bound = max(bound, 0.0)  # a gain is no mark that the next model has to reach
    scale = _scale(written, threshold.unit)
    number = rounded(bound / scale, up=upper)
    if (number * scale >= stated) if upper else (number * scale <= stated):
        return stays("it is as tight as what was reached allows")
    quote, _, suffix = written.groups()
    new = f"{quote}{number:.15g}{suffix}{quote}"
    return Tightened(name, mark, old, new, f"reached {show(bound, threshold.unit)} with its margin")


def _bound(verdict: Mapping[str, Any], side: str, timed: bool) -> float:
    """What was reached, less what may move it: its interval; of a time a share too, since other machines have others.

    What is counted has no interval, and moves with the versions of exporters; noise in dB by twice.
    """
    measured = float(verdict["measured"])
    end = verdict["interval"] and verdict["interval"][side == "max"]
    if timed:
        margin = max(SPEED_MARGIN * abs(measured), abs(end - measured) if end is not None else math.inf)
    elif verdict["interval"]:
        margin = abs(end - measured) if end is not None else math.inf
    else:
        margin = FIDELITY_MARGIN if verdict["unit"] == "dB" else SIZE_MARGIN * abs(measured)
    return measured + margin if side == "max" else measured - margin


def rounded(value: float, up: bool) -> float:
    """To `DIGITS` significant digits, up or down; whole numbers of more digits keep them as zeros."""
    if value == 0 or not math.isfinite(value):
        return value
    step = 10.0 ** (math.floor(math.log10(abs(value))) - DIGITS + 1)
    count = value / step
    whole = math.ceil(count - 1e-9) if up else math.floor(count + 1e-9)
    return float(f"{whole * step:.{DIGITS + 1}g}")


def _value(written: re.Match[str], unit: str) -> float:
    _, number, suffix = written.groups()
    return parse(f"{number} {suffix}", unit) if suffix.strip() else float(number)


def _scale(written: re.Match[str], unit: str) -> float:
    """What the number is multiplied with, by its suffix."""
    suffix = written[3].strip().lower()
    return SCALES[unit][suffix] if suffix else 1.0


def _decoded(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig")


def _line_starts(text: str) -> list[int]:
    return [0, *(found.end() for found in _LINE.finditer(text))]


def _slice(text: str, start: Mark, end: Mark) -> str:
    """Both counted from one, as the reader's marks are."""
    starts = _line_starts(text)
    first, last = (starts[line - 1] + column - 1 for line, column in (start, end))
    return text[first:last]


def of_files(
    report: Mapping[str, Any], files: Sequence[Path]
) -> Iterator[tuple[Path, list[Mapping[str, Any]]]]:
    """The case files of a report, each with its rows; of those in `files`, or under a folder of them, where any are given."""
    by_path: dict[str, list[Mapping[str, Any]]] = {}
    for row in report["rows"]:
        by_path.setdefault(row["path"], []).append(row)
    wanted = [file.resolve() for file in files]
    for name, rows in by_path.items():
        path = Path(name)
        if path.is_file() and (not wanted or any(path.resolve().is_relative_to(one) for one in wanted)):
            yield path, rows
