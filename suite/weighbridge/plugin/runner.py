"""A pytest session's cases, handed to its executor one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from weighbridge.case.model import Limits
from weighbridge.contracts import REPORTS
from weighbridge.core.errors import UsageError
from weighbridge.core.past import Reference
from weighbridge.core.registry import origins
from weighbridge.core.results import CaseResult, Status
from weighbridge.environment.machine import describe, machine_class
from weighbridge.history.against import References
from weighbridge.plugin.options import Settings
from weighbridge.plugin.progress import Progress
from weighbridge.run.events import Event, Said, StageEntered, Timed
from weighbridge.run.executors.base import EXECUTORS
from weighbridge.run.job import Job, RunOptions, unjudged
from weighbridge.run.plan import impossible_plan, make_plan
from weighbridge.run.since import named
from weighbridge.run.store import Store

if TYPE_CHECKING:
    from weighbridge.plugin.items import CaseNode

RUNNER: pytest.StashKey[Runner] = pytest.StashKey()


class Runner:
    """Made when the first case is collected; `close` ends its workers."""

    def __init__(self, config: pytest.Config, settings: Settings, before: float, started: float) -> None:
        self.settings = settings
        self._started = started
        machine = settings.machine or machine_class(describe())
        try:
            self._references = References(settings.history, settings.root, machine, settings.against)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None
        self._progress = Progress(config)
        # Where cases are only collected, nothing is started.
        self._executor = EXECUTORS.get("inline" if config.option.collectonly else settings.executor)()
        self._also = {name for report in settings.formats for name in _shown_by(report)}
        self._options = RunOptions(
            root=settings.root,
            store=settings.store,
            artifacts=settings.reports / "artifacts",
            before=before,
            bench=settings.bench,
            bench_priority=settings.bench_priority,
            strict_requirements=settings.strict_requirements,
            expect_failures=not config.getoption("runxfail"),
            hypothesis_profile=config.getoption("--hypothesis-profile", None) or "default",
            limits=Limits(settings.time_limit, settings.memory_limit),
            confidence=settings.confidence,
        )

    def carry_out(self, node: CaseNode, names: Sequence[str]) -> CaseResult:
        """Carry the case out and judge what is called `names`."""
        from weighbridge.plugin.reporting import set_aside

        earlier = self._earlier(node)
        set_aside(self.settings.reports, self._started)
        path = shown_path(node)
        try:
            plan = make_plan(node.case, names, self.settings.bench, self._also)
        except Exception as error:
            job = Job(node.nodeid, path, impossible_plan(node.case, names), self._options)
            return unjudged(job, Status.ERROR, "plan", str(error))
        job = Job(node.nodeid, path, plan, self._options, origins(), earlier)
        with self._progress.showing(node.nodeid) as say:

            def listen(event: Event) -> None:
                if isinstance(event, StageEntered | Said):
                    say(event.text)
                elif isinstance(event, Timed):
                    node.timings.setdefault(event.measure, {})[event.side] = event.seconds

            return self._executor.run(job, listen)

    def _earlier(self, node: CaseNode) -> Mapping[str, Reference]:
        """The earlier runs that the case is held against. The history is not opened for a case that names none."""
        names = named(node.case)
        if not (names or self.settings.against):
            return {}
        return self._references.of(node.nodeid, names)

    def close(self) -> None:
        """End the workers, and keep the store within its size."""
        self._executor.close()
        if self.settings.store.is_dir():
            Store(self.settings.store).prune(self.settings.store_size)


def _shown_by(report: str) -> Sequence[str]:
    """The measurements that a report shows though no threshold asks for them."""
    return getattr(REPORTS.get(report), "measures", ())


def shown_path(node: pytest.Item | pytest.Collector) -> str:
    root = node.config.rootpath
    return node.path.relative_to(root).as_posix() if node.path.is_relative_to(root) else str(node.path)
