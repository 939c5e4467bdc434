"""Several cases, one after the other, by one executor: for whoever runs cases without pytest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from weighbridge.case.model import Case
from weighbridge.core.errors import StageError
from weighbridge.core.registry import origins
from weighbridge.core.results import CaseResult, Status
from weighbridge.run.events import Event, Said, StageEntered
from weighbridge.run.executors.base import DEFAULT, Executor, start_executor
from weighbridge.run.job import Job, RunOptions, unjudged
from weighbridge.run.plan import impossible_plan, make_plan

Say = Callable[[str], None]


def carry_out(
    cases: Sequence[Case],
    options: RunOptions,
    say: Say = lambda text: None,
    executor: str = DEFAULT,
    also: Sequence[str] = (),
) -> list[CaseResult]:
    """The result of each case, in order; progress goes to `say`.

    `also` names measurements that a report shows though no threshold asks for them.
    """
    planned = [_job(case, options, also) for case in cases]
    carries_out = start_executor(executor)
    try:
        carries_out.expect(job for job, trouble in planned if trouble is None)
        return [
            trouble or _run(job, say, carries_out, f"{case.name} ({number} of {len(cases)})")
            for number, (case, (job, trouble)) in enumerate(zip(cases, planned, strict=True), 1)
        ]
    finally:
        carries_out.close()


def carry_out_one(
    case: Case, options: RunOptions, say: Say, executor: Executor, also: Sequence[str], title: str
) -> CaseResult:
    """The result of a case, by an executor that stays open; `title` begins each line of its progress."""
    job, trouble = _job(case, options, also)
    return trouble or _run(job, say, executor, title)


def _run(job: Job, say: Say, executor: Executor, title: str) -> CaseResult:
    def listen(event: Event) -> None:
        if isinstance(event, StageEntered | Said):
            say(f"{title}: {event.text}")

    say(title)
    return executor.run(job, listen)


def _job(case: Case, options: RunOptions, also: Sequence[str]) -> tuple[Job, CaseResult | None]:
    """The job, and its result already where nothing can be planned."""
    name, path = f"{_shown(case.path)}::{case.name}", _shown(case.path)
    try:
        return Job(name, path, make_plan(case, bench=options.bench, also=also), options, origins()), None
    except StageError as error:
        names = [ref.name for ref in case.thresholds]
        job = Job(name, path, impossible_plan(case, names), options)
        return job, unjudged(job, Status.ERROR, error.stage, str(error))


def _shown(path: Path) -> str:
    """As short as it can be written from here."""
    absolute = path.resolve()
    return absolute.relative_to(Path.cwd()).as_posix() if absolute.is_relative_to(Path.cwd()) else path.name
