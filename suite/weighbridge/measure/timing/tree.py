"""What a process and all that it started hold together: a model that computes in a child takes that memory too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

EVERY_S = 0.01
"""A child that lives for less than two of these may go unseen."""


class Tree:
    """The memory of this process's tree, looked at every hundredth of a second."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = set[psutil.Process]()
        self.peak_bytes = 0
        """The most that this process and its children held at one moment; 0 where it had no children."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(EVERY_S):
                self._look()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _look(self) -> None:
        """Of children that were there before: one that has just begun still lives in the memory of its parent."""
        children = set(self._process.children(recursive=True))
        if settled := children & self._before:
            held = self._process.memory_info().rss + sum(_own_bytes(child) for child in settled)
            self.peak_bytes = max(self.peak_bytes, held)
        self._before = children


def _own_bytes(process: psutil.Process) -> int:
    """Of pages that no other process has: a forked child shares most of its parent's, which are counted there."""
    with suppress(psutil.Error):
        return int(process.memory_full_info().uss)
    return 0  # it has ended, or is somebody else's
