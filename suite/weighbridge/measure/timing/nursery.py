"""Work in fresh processes, one after the other: `python -m weighbridge.measure.timing.nursery`.

Which pages of memory weights and buffers get is drawn when a model is opened. So a process that has imported what opens models,
and has opened none, is forked for each task: its forks differ by as much as processes that are started anew
(benchmarks/README.md, "What moves it"), and are there at once where a start takes a third of a second and more. Where that
does not work, as on Windows, each task has a process of its own, started for it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, TypeVar

from weighbridge.environment.parent import die_with_parent

R = TypeVar("R")


class Nursery(Generic[R]):
    """Does `work`, once a task, in processes that have imported `packages` before; a context manager.

    `longest_s` is when a fork is given up, in seconds.
    """

    def __init__(self, work: Callable[..., R], packages: Sequence[str], longest_s: float) -> None:
        self._work, self._packages, self._longest_s = work, packages, longest_s
        self._forks = hasattr(os, "fork")
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, *task: object) -> R | None:
        """What `work` gives for `task`; None where no other process can do it."""
        try:
            answer = self._ask(task)
        except (pickle.PicklingError, AttributeError, TypeError):  # an engine that is no module's own
            return None
        if answer is None and self._forks:
            self._forks = False  # whatever the engine's import has begun does not live on in a fork
            return self(*task)
        return answer

    def _ask(self, task: Sequence[object]) -> R | None:
        try:
            process = self._process or self._start()
            assert process.stdin
            assert process.stdout
            process.stdin.write(pickle.dumps(task))
            process.stdin.flush()
            answer: R = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            self._end()
            return None
        if not self._forks:
            self._end()
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        """What all tasks share, such as the batches, is handed over once."""
        shared = pickle.dumps((self._work, self._packages, self._longest_s, self._forks))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert self._process.stdin
        self._process.stdin.write(shared)
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()
            with contextlib.suppress(OSError):  # what was not sent to it any more
                process.communicate()

    def __enter__(self) -> Nursery[R]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


def main() -> None:
    """Read what is to be done, then one task after the other; ends with the first that fails, or with the parent."""
    die_with_parent()
    tasks, answers = sys.stdin.buffer, os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    work, packages, longest_s, forks = pickle.load(tasks)
    for package in packages:  # or the first load would seem to take as long
        importlib.import_module(package)
    while True:
        task = pickle.load(tasks)
        if not forks or not os.fork():
            _work(work, task, answers, longest_s)
        if os.wait()[1] != 0:
            return


def _work(work: Callable[..., object], task: Sequence[object], answers: int, longest_s: float) -> None:
    """Answer and end, without what libraries do at exit: some wait for threads that a fork does not have."""
    status = 1
    try:
        die_with_parent()
        if hasattr(signal, "alarm"):
            signal.alarm(max(1, round(longest_s)))
        answer = memoryview(pickle.dumps(work(*task)))
        while answer:
            answer = answer[os.write(answers, answer) :]
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
