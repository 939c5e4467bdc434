"""What all reports that are one text file share: how the file is named and written."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any


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
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
