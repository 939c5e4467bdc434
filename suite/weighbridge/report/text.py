"""What all reports that are one text file share: how the file is named and written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weighbridge.core.unfinished import clear_abandoned, unfinished


class TextReport(ABC):
    """A format says its name, its suffix and how it renders."""

    name: str
    suffix: str

    @abstractmethod
    def render(self, report: Mapping[str, Any]) -> str: ...

    def write(self, report: Mapping[str, Any], folder: Path, stem: str = "latest") -> list[Path]:
        """Write `folder/STEM.SUFFIX`, whole or not at all; `folder` exists. Raises `OSError`."""
        path = folder / f"{stem}{self.suffix}"
        _replace(path, self.render(report))
        return [path]


def _replace(path: Path, text: str) -> None:
    """Written beside `path` first and then moved over it, so that nobody ever reads half a file."""
    clear_abandoned(path.parent, f".{path.name}.")
    temporary = unfinished(path.parent, f".{path.name}.")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
