"""Cases of finished artifacts -> the rows of a report, by the same driver as while testing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weighbridge.case.model import Case
from weighbridge.core.results import Status
from weighbridge.report.assembly import make_report
from weighbridge.run.executors.base import DEFAULT
from weighbridge.run.job import RunOptions
from weighbridge.run.several import Say, carry_out

WITHIN, OVER, UNREADABLE, UNDECIDED = 0, 1, 2, 3
"""Exit codes: within budget, over it, wrong use or an unreadable file, could not be decided."""

_UNREADABLE_STAGES = ("plan", "load", "data", "open")


def audit(
    cases: Sequence[Case],
    workdir: Path,
    say: Say = lambda text: None,
    executor: str = DEFAULT,
    also: Sequence[str] = (),
    confidence: float | None = None,
) -> dict[str, Any]:
    """The report of `cases`, one row each; results are kept under `workdir` while it is made.

    `also` names measurements that a report shows though the budget does not ask for them; `confidence` is how sure a
    verdict must be where the budget does not say it.
    """
    options = RunOptions(root=Path.cwd(), store=workdir, confidence=confidence)
    rows = [result.row() for result in carry_out(cases, options, say, executor, also)]
    return make_report(rows, {"audit": True, "confidence": confidence}, options.root)


def exit_code(report: Mapping[str, Any]) -> int:
    """The worst of the rows: an unreadable file before a breach, a breach before what is undecided."""
    codes = {_row_code(row) for row in report["rows"]}
    return next((code for code in (UNREADABLE, OVER, UNDECIDED) if code in codes), WITHIN)


def _row_code(row: Mapping[str, Any]) -> int:
    if row["status"] == Status.ERROR and row["stage"] in _UNREADABLE_STAGES:
        return UNREADABLE
    found = {verdict["status"] for verdict in row["verdicts"]}
    if Status.FAIL in found:
        return OVER
    # A skipped, failing-as-expected or broken check is no proof that the budget is kept.
    return WITHIN if found == {Status.PASS} else UNDECIDED
