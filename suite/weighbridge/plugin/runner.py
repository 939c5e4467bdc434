"""A pytest session's cases, handed to its executor one by one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from weighbridge.case.model import Limits
from weighbridge.contracts import REPORTS
from weighbridge.core.errors import UsageError, WeighbridgeError
from weighbridge.core.past import Reference
from weighbridge.core.registry import origins
from weighbridge.core.results import CaseResult, Status
from weighbridge.environment.machine import describe, machine_class
from weighbridge.history.against import References
from weighbridge.plugin.options import Settings
from weighbridge.plugin.progress import Progress
from weighbridge.run.events import Event, Said, StageEntered, Timed
from weighbridge.run.executors.base import Executor, start_executor
from weighbridge.run.job import Job, RunOptions, unjudged
from weighbridge.run.object_store import ObjectStore
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
        if settings.beyond and not config.option.collectonly:
            _reached(settings.beyond)
        # Where cases are only collected, nothing is started.
        self._executor = _started("inline" if config.option.collectonly else settings.executor)
        self._also = {name for report in settings.formats for name in _shown_by(report)}
        self._options = RunOptions(
            root=settings.root,
            store=settings.store,
            beyond=settings.beyond,
            artifacts=settings.reports / "artifacts",
            before=before,
            bench=settings.bench,
            bench_priority=settings.bench_priority,
            strict_requirements=settings.strict_requirements,
            expect_failures=not config.getoption("runxfail"),
            hypothesis_profile=config.getoption("--hypothesis-profile", None) or "default",
            limits=Limits(settings.time_limit, settings.memory_limit),
            confidence=settings.confidence,
            speed_resource=settings.speed_resource,
        )
        self._planned: dict[CaseNode, tuple[Job, CaseResult | None]] = {}
        self._announced = False
        self.wanted: dict[CaseNode, list[str]] = {}
        """What is to be judged, by case, in the order in which pytest asks for it; filled once the session is collected."""

    def carry_out(self, node: CaseNode) -> CaseResult:
        from weighbridge.plugin.reporting import set_aside

        if not self._announced:
            self._executor.expect(self._possible())
            self._announced = True
        if node not in self._planned:
            self._planned[node] = self._plan(node, self.wanted[node])
        job, trouble = self._planned.pop(node)
        set_aside(self.settings.reports, self._started)  # which may be what the case is held against
        if trouble is not None:
            return trouble
        with self._progress.showing(node.nodeid) as say:

            def listen(event: Event) -> None:
                if isinstance(event, StageEntered | Said):
                    say(event.text)
                elif isinstance(event, Timed):
                    node.timings.setdefault(event.measure, {})[event.side] = event.seconds

            result = self._executor.run(job, listen)
        # A project that has a name for its machines means those of its cluster too.
        return replace(result, machine_class=None) if self.settings.machine else result

    def _possible(self) -> Iterator[Job]:
        """The jobs of the cases that nothing keeps from being carried out, as far as can be told."""
        for node, names in self.wanted.items():
            if node.get_closest_marker("skip") is None:
                job, trouble = self._planned[node] = self._plan(node, names)
                if trouble is None:
                    yield job

    def _plan(self, node: CaseNode, names: Sequence[str]) -> tuple[Job, CaseResult | None]:
        """The case's job, and its result already where nothing can be planned."""
        path = shown_path(node)
        try:
            plan = make_plan(node.case, names, self.settings.bench, self._also)
        except Exception as error:
            job = Job(node.nodeid, path, impossible_plan(node.case, names), self._options)
            return job, unjudged(job, Status.ERROR, "plan", str(error))
        return Job(node.nodeid, path, plan, self._options, origins(), self._earlier(node)), None

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


def _started(executor: str) -> Executor:
    """Raises `pytest.UsageError` where there is no such executor, or it cannot start."""
    try:
        return start_executor(executor)
    except WeighbridgeError as error:
        raise pytest.UsageError(f"--executor {executor}: {error}") from None


def _reached(address: str) -> None:
    """Raises `pytest.UsageError` where the store cannot be reached: in a case that would be a note only."""
    try:
        ObjectStore(address).begin()
    except WeighbridgeError as error:
        raise pytest.UsageError(f"weighbridge_store: {error}") from None


def _shown_by(report: str) -> Sequence[str]:
    """The measurements that a report shows though no threshold asks for them."""
    return getattr(REPORTS.get(report), "measures", ())


def shown_path(node: pytest.Item | pytest.Collector) -> str:
    """The node's file as seen from pytest's root directory, which another project's file does not lie in."""
    root = node.config.rootpath
    if node.path.is_relative_to(root):
        return node.path.relative_to(root).as_posix()
    try:
        return Path(os.path.relpath(node.path, root)).as_posix()
    except ValueError:  # on another drive
        return str(node.path)
