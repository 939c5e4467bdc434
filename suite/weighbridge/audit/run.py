"""Cases of finished artifacts -> the rows of a report, by the same driver as while testing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from weighbridge.case.model import Case
from weighbridge.core.errors import StageError
from weighbridge.core.registry import origins
from weighbridge.core.results import CaseResult, Status
from weighbridge.report.assembly import make_report
from weighbridge.run.events import Event, Said, StageEntered
from weighbridge.run.executors.base import DEFAULT, EXECUTORS
from weighbridge.run.job import Job, RunOptions, unjudged
from weighbridge.run.plan import impossible_plan, make_plan

Say = Callable[[str], None]

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
    carries_out = EXECUTORS.get(executor)()
    options = RunOptions(root=Path.cwd(), store=workdir, confidence=confidence)
    rows = []
    try:
        for number, case in enumerate(cases):
            title = f"{case.name} ({number + 1} of {len(cases)})"

            def listen(event: Event, title: str = title) -> None:
                if isinstance(event, StageEntered | Said):
                    say(f"{title}: {event.text}")

            say(title)
            job, trouble = _job(case, options, also)
            rows.append((trouble or carries_out.run(job, listen)).row())
    finally:
        carries_out.close()
    return make_report(rows, {"audit": True, "confidence": confidence}, options.root)


def _job(case: Case, options: RunOptions, also: Sequence[str]) -> tuple[Job, CaseResult | None]:
    """The job, and its result already where nothing can be planned."""
    name, path = f"{_shown(case.path)}::{case.name}", _shown(case.path)
    try:
        return Job(name, path, make_plan(case, also=also), options, origins()), None
    except StageError as error:
        names = [ref.name for ref in case.thresholds]
        job = Job(name, path, impossible_plan(case, names), options)
        return job, unjudged(job, Status.ERROR, error.stage, str(error))


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


def _shown(path: Path) -> str:
    """As short as it can be written from here."""
    absolute = path.resolve()
    return absolute.relative_to(Path.cwd()).as_posix() if absolute.is_relative_to(Path.cwd()) else path.name
