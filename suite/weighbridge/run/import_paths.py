"""The folders that pytest's own setting `pythonpath` puts in front of the modules, where no pytest has read it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from weighbridge.environment.pytest_settings import pytest_settings


def add_import_paths(root: Path) -> None:
    """Put the `pythonpath` of the settings in `root` in front of `sys.path`, as pytest does: `src/` of most packages."""
    for path in reversed(_stated(root)):
        place = str(root / path)
        if place not in sys.path:
            sys.path.insert(0, place)


def _stated(root: Path) -> list[str]:
    """What `pythonpath` says; nothing where no file does, or it is no list of folders, which is pytest's to tell."""
    stated = (pytest_settings(root) or {}).get("pythonpath", [])
    try:
        return shlex.split(stated) if isinstance(stated, str) else [str(path) for path in stated]
    except (TypeError, ValueError):
        return []
