"""How a run differs from the earlier one that it was compared with, for every report that shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weighbridge.core.units import arrow
from weighbridge.measure.clocked import reads_clock
from weighbridge.report.table import Line


@dataclass(frozen=True)
class Differences:
    """`changed`: the cases that differ, and in what; `why`: what kept others from being compared, with how often."""

    title: str
    changed: Sequence[tuple[Line, str]]
    why: Mapping[str, int]


def differences(lines: Sequence[Line]) -> Differences | None:
    """None where no case was compared with an earlier run."""
    compared = [(line, line.row["against"]) for line in lines if line.row.get("against")]
    if not compared:
        return None
    names = dict.fromkeys(against["reference"] for _, against in compared)
    runs = {shown_run(against) for _, against in compared} - {""}
    found = [(line, text) for line, against in compared if (text := in_words(against))]
    at = f" ({next(iter(runs))})" if len(runs) == 1 else ""
    beside = sum(bool(against.get("run")) for _, against in compared)
    what = f"{len(found) or 'none'} of {beside} cases differ" if beside else "nothing to compare with"
    why = Counter(
        against["why"] for line, against in compared if against["why"] and not _said(line, against["why"])
    )
    return Differences(f"Against {', '.join(names)}{at}: {what}", found, why)


def _said(line: Line, why: str) -> bool:
    """Whether a threshold that could not be judged for it says it already."""
    return any(why in verdict["message"] for verdict in line.row["verdicts"])


def in_words(against: Mapping[str, Any]) -> str:
    """`accuracy 97.1→95.9 %, size 14.9→15.2 kB`; empty where nothing differs.

    A time that differs within its uncertainty is noise and not told; a number of the test set is a fact, and told as such.
    """
    return ", ".join(
        f"{change['quantity'].replace('_', ' ')} {arrow(change['before'], change['now'], change['unit'])}"
        + ("" if change["clear"] else " (within its uncertainty)")
        for change in against["changes"]
        if change["before"] != change["now"] and (change["clear"] or not reads_clock(change["quantity"]))
    )


def shown_run(against: Mapping[str, Any]) -> str:
    """`4f2a9c1 of 2026-11-20`; empty without a run."""
    if not against.get("run"):
        return ""
    return f"{(against['commit'] or against['run'])[:7]} of {(against['created'] or '')[:10]}"
