"""What is timed has the machine to itself: with several processes, one case is timed while the others stand still."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import ReadWriteLock

from weighbridge.run.events import Listener, Waiting


class Turns:
    """The lock that the processes of a project share: many may work, or one may have the clock. It ends with its process."""

    def __init__(self, store: Path, tell: Listener) -> None:
        folder = store / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = ReadWriteLock(folder / "turns.db", is_singleton=False)
        self._tell = tell

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Inside, nobody is timed but who asks for `timing`."""
        self._wait(self._lock.acquire_read)
        try:
            yield
        finally:
            self._lock.close()  # which lets go of it, if whoever waited for the clock was not ended in between

    @contextlib.contextmanager
    def timing(self) -> Iterator[None]:
        """Within `working`: inside, nobody else works."""
        self._lock.release()
        self._wait(self._lock.acquire_write)
        try:
            yield
        finally:
            self._lock.release()
            self._wait(self._lock.acquire_read)

    def _wait(self, acquire: Callable[[], object]) -> None:
        self._tell(Waiting(True))
        try:
            acquire()
        finally:
            self._tell(Waiting(False))
