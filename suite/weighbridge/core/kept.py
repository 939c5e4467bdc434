"""Where a measurement may keep what it learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class Kept(Protocol):
    """Where a measurement may keep what it learned of one artifact alone, `baseline` or `candidate`."""

    def find(self, side: str) -> Path | None:
        """The folder of what was kept, or None."""
        ...

    def keep(self, side: str, write: Callable[[Path], None]) -> None: ...
