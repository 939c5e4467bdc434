"""What an executor is, and the registry of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from weighbridge.core.registry import Registry
from weighbridge.core.results import CaseResult
from weighbridge.run.events import Listener
from weighbridge.run.job import Job


class Executor(Protocol):
    """Carries out one case after the other."""

    def run(self, job: Job, listen: Listener) -> CaseResult:
        """The result of `job`, whatever becomes of it; what happens meanwhile goes to `listen`.

        Only `KeyboardInterrupt` leaves it, and nothing that it started is left running then.
        """
        ...

    def close(self) -> None:
        """End whatever was started."""
        ...


EXECUTORS: Registry[Callable[[], Executor]] = Registry("executor")
DEFAULT = "process"
