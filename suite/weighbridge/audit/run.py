"""Cases of finished artifacts -> the rows of a report. The same plan, pipeline and judge as while testing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from weighbridge.case.model import Case, ThresholdRef
from weighbridge.contracts import MEASURES, THRESHOLDS
from weighbridge.core.errors import StageError, WeighbridgeError
from weighbridge.core.results import Measurement, Outcome, Status, Verdict
from weighbridge.run.inputs import make_data
from weighbridge.run.judge import judge
from weighbridge.run.pipeline import execute, weighing
from weighbridge.run.plan import Plan, make_plan
from weighbridge.run.rows import make_report, make_row

Say = Callable[[str], None]

WITHIN, OVER, UNREADABLE, UNDECIDED = 0, 1, 2, 3
"""Exit codes: within budget, over it, wrong use or an unreadable file, could not be decided."""

_UNREADABLE_STAGES = ("plan", "load", "data", "open")


def audit(cases: Sequence[Case], workdir: Path, say: Say = lambda text: None) -> dict[str, Any]:
    """The report (schema 1) of `cases`, one row each; files that have to be made go under `workdir`."""
    parts = []
    for number, case in enumerate(cases):
        say(f"{case.name} ({number + 1} of {len(cases)})")
        parts += _parts(case, workdir / str(number), say)
    report = make_report(parts, {"audit": True})
    del report["options"]["argv"]
    for row, case in zip(report["rows"], cases, strict=True):
        row["artifact"] = _shown(Path((case.candidate or case.model).reference))
    return report


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


def _parts(case: Case, workdir: Path, say: Say) -> list[dict[str, Any]]:
    name, path = f"{_shown(case.path)}::{case.name}", _shown(case.path)
    plan: Plan | None = None
    try:
        plan = make_plan(case)
        outcome = execute(plan, workdir, say)
    except StageError as error:
        outcome = Outcome(case.name, Status.ERROR, error.stage, f"{case.line}: {error}")
    measured: dict[str, Measurement] = {}
    judged = [_judge(plan, case.path, ref, outcome, measured, say) for ref in case.thresholds]
    engine = plan.engine if plan else None
    return [
        make_row(name, path, case, outcome, measured, verdict, ref, verdict.status, verdict.message, engine)
        for ref, verdict in zip(case.thresholds, judged, strict=True)
    ]


def _judge(
    plan: Plan | None,
    path: Path,
    ref: ThresholdRef,
    outcome: Outcome,
    measured: dict[str, Measurement],
    say: Say,
) -> Verdict:
    """The verdict on one line of the budget; an error or a skip is one too."""

    def undecided(status: Status, message: str) -> Verdict:
        return Verdict(ref.name, status, str(ref.limit), unit=THRESHOLDS.get(ref.name).unit, message=message)

    if plan is None or outcome.status is Status.ERROR:
        return undecided(Status.ERROR, f"{_shown(path)}:{outcome.message}")
    if outcome.status is Status.SKIP:
        return undecided(Status.SKIP, outcome.message)
    if plan.case.skip is not None:
        return undecided(Status.SKIP, plan.case.skip)
    if (measure := THRESHOLDS.get(ref.name).measure) in outcome.failed:
        return undecided(Status.ERROR, f"{_shown(path)}:{outcome.failed[measure]}")
    try:
        verdict = judge(ref, _measurement(plan, ref, outcome, measured, say))
    except WeighbridgeError as error:
        return undecided(Status.ERROR, str(error))
    except Exception as error:  # what an engine raises while it is timed belongs to this line of the budget
        return undecided(Status.ERROR, f"{type(error).__name__}: {error}")
    reason = plan.case.xfail.get(ref.name, plan.case.xfail.get("*"))
    if reason is not None and verdict.status is not Status.PASS:
        return undecided(Status.XFAIL, f"{reason} ({verdict.message})")
    return verdict


def _measurement(
    plan: Plan, ref: ThresholdRef, outcome: Outcome, measured: dict[str, Measurement], say: Say
) -> Measurement:
    measure = MEASURES.get(THRESHOLDS.get(ref.name).measure)
    if measure.name in outcome.measurements:
        return outcome.measurements[measure.name]
    if measure.name in outcome.failed:
        raise WeighbridgeError(outcome.failed[measure.name].partition(": ")[2])
    if not measure.bench:
        raise StageError(
            "measure", f"'{ref.name}' needs samples to run the model on; give `data` or `inputs`"
        )
    if measure.name not in measured:
        assert outcome.candidate is not None
        say(f"measure {measure.name}")
        refs = tuple(one for one in plan.case.thresholds if THRESHOLDS.get(one.name).measure == measure.name)
        scales = weighing(plan, outcome.baseline, outcome.candidate, make_data(plan.case), say, refs)
        measured[measure.name] = measure.run(scales)
    return measured[measure.name]


def _shown(path: Path) -> str:
    """As short as it can be written from here."""
    absolute = path.resolve()
    return absolute.relative_to(Path.cwd()).as_posix() if absolute.is_relative_to(Path.cwd()) else path.name
