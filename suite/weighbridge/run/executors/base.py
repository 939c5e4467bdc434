"""What an executor is, and the registry of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from weighbridge.core.errors import UsageError
from weighbridge.core.registry import Registry
from weighbridge.core.results import CaseResult
from weighbridge.run.events import Listener
from weighbridge.run.job import Job


class Executor(Protocol):
    """Carries out one case after the other, or many beside each other."""

    def expect(self, jobs: Iterable[Job]) -> None:
        """What `run` will be asked for, in about this order, where the caller knows: who has several machines begins."""
        ...

    def run(self, job: Job, listen: Listener) -> CaseResult:
        """The result of `job`, whatever becomes of it; what happens meanwhile goes to `listen`.

        Only `KeyboardInterrupt` leaves it, and nothing that it started is left running then.
        """
        ...

    def close(self) -> None:
        """End whatever was started."""
        ...


EXECUTORS: Registry[Callable[[str], Executor]] = Registry("executor")
"""Each is given its address, which is empty where none was stated."""
DEFAULT = "process"


def start_executor(stated: str) -> Executor:
    """The executor that `NAME` or `NAME://ADDRESS` asks for.

    Raises `UsageError` where there is none, or it is at no address; `Unavailable` without what it needs.
    """
    name, _, address = stated.partition("://")
    return EXECUTORS.get(name)(address)


def without_address(start: Callable[[], Executor]) -> Callable[[str], Executor]:
    """An executor of this machine."""

    def starts(address: str) -> Executor:
        if address:
            raise UsageError(f"'{address}' is an address, and this executor has none; ray has")
        return start()

    return starts
