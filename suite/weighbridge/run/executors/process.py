"""Cases in a worker: whatever a case does to its process, the run and the other cases go on.

The worker is started by spawning, since a fork after torch has started its threads is unsafe, and is used again while
it is healthy. One that dies, hangs or takes more than its limits gives its case an error that names the stage.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from weighbridge.contracts import FORMATS
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.results import CaseResult, Status, read_result
from weighbridge.core.unfinished import clear_abandoned, unfinished
from weighbridge.core.units import show
from weighbridge.run.events import Listener, StageEntered, Waiting, event_from_json
from weighbridge.run.executors.base import EXECUTORS, without_address
from weighbridge.run.executors.worker import READY, REFUSED, RESULT
from weighbridge.run.job import Job, job_to_json, unjudged

POLL_S = 0.1
"""How often memory is looked at, where a case has a limit of it."""
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)
TAIL = 4000
"""Characters of its last output that a dead worker's case brings along."""
_TEMPORARY = "weighbridge-"
"""Begins the name of a worker's own folder for temporary files: what it cannot remove itself, since it was killed, is
removed with the folder, by this process or by a later run."""
_WATCH = 'read _; kill -s KILL -- "-$0"'
"""A shell that waits for its standard input to be closed, which the end of this process does, however that comes about;
then it ends the worker's whole group. The worker could not: it may hang, or be dead while what it started lives on."""
_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from weighbridge.run.executors.worker import main; main()"


class Process:
    """One worker, which starts at once while the caller still prepares its jobs, and is replaced when it is lost."""

    def __init__(self) -> None:
        self._worker: _Worker | None = _Worker()

    def expect(self, jobs: Iterable[Job]) -> None:
        pass

    def run(self, job: Job, listen: Listener) -> CaseResult:
        where = StageEntered("start", "start", job.plan.case.line)
        try:
            if self._worker is None:
                self._worker = _Worker()
            worker = self._worker
            worker.send(job)
            limits, clock = job.limits, _Clock(job.limits.time)
            while True:
                answer = worker.receive(clock.deadline, limits.memory)
                if answer["event"] == RESULT:
                    self._release(answer)
                    return read_result(answer["row"])
                if answer["event"] == REFUSED:
                    self._release(answer)
                    return unjudged(job, Status.ERROR, "plan", answer["message"])
                event = event_from_json(answer)
                if isinstance(event, Waiting):
                    clock.stand_still(event.begins)
                where = event if isinstance(event, StageEntered) else where
                listen(event)
        except _Lost as lost:
            said = self._worker.tail() if self._worker else ""
            self.close()
            message = f"{where.stage} ({where.text}): {lost}"
            lines = said.splitlines()
            if lines:
                message += "; its last output: " + " | ".join(line.strip() for line in lines[-3:])
            # A file that crashes whatever reads or runs it cannot be served, wherever it was that it did so.
            stage = "open" if lost.crashed and _is_file(job) else where.stage
            return unjudged(job, Status.ERROR, stage, message, where.line)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _release(self, answer: Mapping[str, Any]) -> None:
        """Keep the worker for the next case, unless this one has left it changed."""
        if not answer["healthy"]:
            self.close()


def _is_file(job: Job) -> bool:
    """Whether a finished file is weighed, and no code of the user's."""
    case = job.plan.case
    ref = case.candidate or case.model
    return not case.recipe and ":" not in ref.reference and FORMATS.get(ref.format).whole_file


class _Clock:
    """What a case has left of its seconds, `limit`, which it does not lose while it waits."""

    def __init__(self, limit: float | None) -> None:
        self._end = None if limit is None else time.monotonic() + limit
        self._since: float | None = None

    @property
    def deadline(self) -> float | None:
        """A time of `time.monotonic`; None where there is none now."""
        return None if self._since is not None else self._end

    def stand_still(self, begins: bool) -> None:
        now = time.monotonic()
        if self._since is not None and self._end is not None:
            self._end += now - self._since
        self._since = now if begins else None


class _Lost(WeighbridgeError):
    """The worker is gone, or had to be ended."""

    def __init__(self, how: str, crashed: bool = False) -> None:
        super().__init__(how)
        self.crashed = crashed


class _Worker:
    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile("ab+")  # noqa: SIM115 (closed in `kill`)
        paths = json.dumps([path for path in sys.path if path] or [str(Path.cwd())])
        clear_abandoned(Path(tempfile.gettempdir()), _TEMPORARY)
        self._temporary = unfinished(Path(tempfile.gettempdir()), _TEMPORARY)
        self._temporary.mkdir(mode=0o700)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            encoding="utf-8",
            env={**os.environ, "TMPDIR": str(self._temporary)},
        )
        self._watch = subprocess.Popen(
            ["sh", "-c", _WATCH, str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True, name="weighbridge-worker").start()
        self._began = 0

    def send(self, job: Job) -> None:
        """Hand over a job; raises `_Lost`."""
        assert self._process.stdin is not None
        self._began = os.fstat(self._log.fileno()).st_size
        data = {**job_to_json(job), "folder": str(Path.cwd()), "sys_path": sys.path}
        try:
            self._process.stdin.write(json.dumps(data) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._how_it_ended() from error

    def receive(self, deadline: float | None, memory: float | None) -> dict[str, Any]:
        """The next answer; raises `_Lost` at the deadline, over the memory limit, or when the process has ended."""
        while True:
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                raise _Lost("it ran past its limit of time, and was ended")
            if memory is not None and (taken := self._memory()) > memory:
                raise _Lost(
                    f"it took {show(taken, 'bytes')} of memory, past its limit of {show(memory, 'bytes')}, and was ended"
                )
            waits = [POLL_S] if memory is not None else []
            waits += [deadline - now] if deadline is not None else []
            try:
                answer = self._answers.get(timeout=min(waits, default=None))
            except queue.Empty:
                continue
            if answer is None:
                raise self._how_it_ended()
            if answer["event"] != READY:
                return answer

    def tail(self) -> str:
        """The end of what this job has printed."""
        size = os.fstat(self._log.fileno()).st_size
        start = max(self._began, size - TAIL)
        return os.pread(self._log.fileno(), size - start, start).decode(errors="replace").strip()

    def kill(self) -> None:
        """End the process and whatever it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._watch.kill()
        for process in (self._process, self._watch):
            process.wait()
        shutil.rmtree(self._temporary, ignore_errors=True)
        for stream in (self._process.stdin, self._watch.stdin, self._log):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    self._answers.put(json.loads(line))
                except ValueError:  # cut off by the end of the process
                    break
        self._answers.put(None)

    def _how_it_ended(self) -> _Lost:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return _Lost("its process closed its channel and does not end")
        if code >= 0:
            return _Lost(f"its process ended by itself, with exit status {code}")
        name = f" ({signal.Signals(-code).name})" if -code in set(signal.Signals) else ""
        return _Lost(f"its process was killed by signal {-code}{name}", crashed=-code in _CRASHES)

    def _memory(self) -> int:
        """Bytes resident in the worker and everything that it started."""
        import psutil

        total = 0
        with contextlib.suppress(psutil.Error):
            worker = psutil.Process(self._process.pid)
            for process in (worker, *worker.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss
        return total


EXECUTORS.add("process", without_address(Process))
