"""Cases on the nodes of a Ray cluster, as many at a time as it has cores.

A case is a task. What is read and made lies in a folder that the nodes share, so that a task is a few kilobytes. A case
whose node is lost is tried again on another one, where it goes on from what the store has.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weighbridge.contracts import MEASURES
from weighbridge.core.errors import UsageError, first_line
from weighbridge.core.results import CaseResult, Status, read_result
from weighbridge.core.unfinished import unfinished
from weighbridge.environment.extras import RAY, load
from weighbridge.environment.machine import describe, machine_class
from weighbridge.run.events import Event, Listener, Said, event_from_json
from weighbridge.run.executors import node
from weighbridge.run.executors.base import EXECUTORS
from weighbridge.run.job import Job, unjudged

TRIES = 3
"""How often a case is begun before its nodes' losses are taken for its own doing."""
AHEAD = 256
"""Tasks that a cluster of fewer cores has at once: few enough to be asked about all the time."""
POLL_S = 0.1
"""How long it waits for more tasks than are ready: asking about hundreds of them takes milliseconds."""
LOOK_S = 2.0
"""How often it looks at the cluster itself."""


@dataclass(frozen=True)
class Task:
    """A case as it is handed out. One that `prepares` makes and measures everything but what reads the clock."""

    job: Job
    book: Path
    """In which the nodes sign that begin it."""
    prepares: bool = False
    resource: str = ""
    tries: int = 1

    @property
    def pinned(self) -> bool:
        """Whether only a node that offers `resource` may have it, which has then no other such task."""
        return bool(self.resource) and not self.prepares

    @property
    def handed(self) -> Job:
        """The job of this task alone."""
        if not self.prepares:
            return self.job
        plan, options = self.job.plan, self.job.options
        untimed = tuple(name for name in plan.measures if not MEASURES.get(name).bench)
        return replace(
            self.job,
            plan=replace(plan, measures=untimed),
            options=replace(options, artifacts=None, seek_layers="never"),
        )


class Ray:
    """A cluster: that at `address`, else one in reach of this machine, else this machine alone."""

    def __init__(self, address: str = "") -> None:
        self._ray: Any = load(RAY)
        self._exceptions: Any = load(RAY, "ray.exceptions")
        self._ours = not self._ray.is_initialized()
        if self._ours:
            self._connect(address)
        self._carry_out = self._ray.remote(node.carry_out)
        self._machine = machine_class(describe())
        self._expected: Iterator[Job] = iter(())
        self._again: deque[Task] = deque()
        self._running: dict[Any, Task] = {}
        self._begun: set[str] = set()
        """The cases that were handed out and that nobody has asked for yet."""
        self._done: dict[str, tuple[CaseResult, list[Event]]] = {}
        self._books: dict[Path, Path] = {}
        self._ahead = self._room()
        self._looked = time.monotonic()

    def expect(self, jobs: Iterable[Job]) -> None:
        self._expected = iter(jobs)

    def run(self, job: Job, listen: Listener) -> CaseResult:
        try:
            while job.case not in self._begun and (expected := next(self._expected, None)) is not None:
                self._begin(expected)
            if job.case not in self._begun:
                self._begin(job)
            while job.case not in self._done:
                self._keep_busy()
                self._gather(listen)
        except ConnectionError as error:
            self._begun.discard(job.case)
            return unjudged(job, Status.ERROR, "run", f"the cluster does not answer any more: {error}")
        except BaseException:
            self.close()
            raise
        self._begun.discard(job.case)
        result, events = self._done.pop(job.case)
        for event in events:
            listen(event)
        return result

    def close(self) -> None:
        """End every task, wherever it runs."""
        with contextlib.suppress(ConnectionError):
            for reference in self._running:
                self._ray.cancel(reference, force=True)
        self._running.clear()
        for folder in self._books.values():
            shutil.rmtree(folder, ignore_errors=True)
        self._books.clear()
        if self._ours:
            self._ray.shutdown()

    def _connect(self, address: str) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a gate tells nobody what it does
        try:
            self._ray.init(
                address=f"ray://{address}" if address else None,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"no Ray cluster answers{f' at {address}' if address else ''}: {error}"
            ) from error

    def _begin(self, job: Job) -> None:
        self._begun.add(job.case)
        timed = any(MEASURES.get(name).bench for name in job.plan.measures)
        resource = job.options.speed_resource if timed else ""
        self._hand_out(Task(job, self._book(job), prepares=bool(resource), resource=resource))

    def _keep_busy(self) -> None:
        while len(self._running) < self._ahead:
            if self._again:
                self._hand_out(self._again.popleft())
            elif (job := next(self._expected, None)) is not None:
                self._begin(job)
            else:
                return

    def _hand_out(self, task: Task) -> None:
        if task.pinned and not self._offers(task.resource):
            self._end(task, _unserved(task))
            return
        resources = {task.resource: 1} if task.pinned else {}
        # Ray's own tries would be without number where a node is short of memory.
        remote = self._carry_out.options(num_cpus=1, max_retries=0, resources=resources, name=task.job.case)
        self._running[remote.remote(node.parcel(task.handed, task.book))] = task

    def _gather(self, listen: Listener) -> None:
        """Take in what is ready, and look at the cluster itself now and then."""
        waiting = list(self._running)
        if not waiting:
            return
        ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=POLL_S)
        if time.monotonic() > self._looked + LOOK_S:
            self._looked = time.monotonic()
            listen(Said(f"{len(self._running)} cases on the cluster"))
            self._ahead = self._room()
            self._give_up_the_hopeless()
        for reference in ready:
            task = self._running.pop(reference)
            try:
                answer = self._ray.get(reference)
            except self._exceptions.RayTaskError as error:  # raised on the node: it would be again
                why = f"{type(error.cause).__name__}: {first_line(error.cause)}, on a node of the cluster"
                self._end(task, unjudged(task.job, Status.ERROR, "run", why))
            except self._exceptions.RayError as error:
                self._lost(task, error)
            else:
                self._take(task, answer)

    def _take(self, task: Task, answer: Mapping[str, Any]) -> None:
        if node.REFUSED in answer:
            message = f"the node {answer[node.NODE]}: {answer[node.REFUSED]}"
            self._end(task, unjudged(task.job, Status.ERROR, "plan", message))
            return
        result = read_result(answer[node.ROW])
        if task.prepares and result.stage == "done":
            self._again.append(replace(task, prepares=False, tries=1))
            return
        events = [event_from_json(event) for event in answer[node.EVENTS]]
        if answer[node.MACHINE] != self._machine:
            result = replace(result, machine_class=answer[node.MACHINE])
        self._end(task, result, events)

    def _lost(self, task: Task, error: Exception) -> None:
        if task.tries < TRIES:
            self._again.append(replace(task, tries=task.tries + 1))
            return
        nodes = ", ".join(task.book.read_text(encoding="utf-8").splitlines()[-TRIES:])
        says = str(error).partition(". To see ")[0]
        why = (
            f"lost {TRIES} times with the node or the worker that carried it out ({nodes}); Ray says: {says}"
        )
        self._end(task, unjudged(task.job, Status.ERROR, "run", why))

    def _give_up_the_hopeless(self) -> None:
        """A task that waits for nodes of a class would do so for ever once the last of them is lost."""
        for reference, task in list(self._running.items()):
            if task.pinned and not self._offers(task.resource):
                self._ray.cancel(reference, force=True)
                del self._running[reference]
                self._end(task, _unserved(task))

    def _end(self, task: Task, result: CaseResult, events: list[Event] | None = None) -> None:
        self._done[task.job.case] = result, events or []

    def _room(self) -> int:
        """How many tasks the cluster has at once: two for each core, so that none is idle while this process is busy."""
        return max(AHEAD, 2 * int(self._ray.cluster_resources().get("CPU", 0)))

    def _offers(self, resource: str) -> bool:
        return bool(self._ray.cluster_resources().get(resource, 0) >= 1)

    def _book(self, job: Job) -> Path:
        """A new file in the run's store: a node that has it too has the same store."""
        store = job.options.store
        if store not in self._books:
            self._books[store] = unfinished(store / "making")
            self._books[store].mkdir(parents=True)
        book = self._books[store] / uuid.uuid4().hex
        book.touch()
        return book


def _unserved(task: Task) -> CaseResult:
    why = (
        f"no node of the cluster offers '{task.resource}', on which this project times its models; start one with: "
        f"ray start --address=HOST:PORT --resources='{{\"{task.resource}\": 1}}'"
    )
    return unjudged(task.job, Status.ERROR, "run", why)


EXECUTORS.add("ray", Ray)
