"""The folders that pytest's own setting `pythonpath` puts in front of the modules, where no pytest has read it."""

from __future__ import annotations

import configparser
import shlex
import sys
import tomllib
from pathlib import Path

_SECTIONS = {"pytest.ini": "pytest", ".pytest.ini": "pytest", "tox.ini": "pytest", "setup.cfg": "tool:pytest"}


def add_import_paths(root: Path) -> None:
    """Put the `pythonpath` of the settings in `root` in front of `sys.path`, as pytest does: `src/` of most packages."""
    for path in reversed(_stated(root)):
        place = str(root / path)
        if place not in sys.path:
            sys.path.insert(0, place)


def _stated(root: Path) -> list[str]:
    """What `pythonpath` says; nothing where no file does, or none that can be read, which is pytest's to tell."""
    try:
        for name in ("pytest.ini", ".pytest.ini"):
            if (root / name).is_file():
                return _ini(root / name)
        project = root / "pyproject.toml"
        if project.is_file():
            tool = tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {}).get("pytest", {})
            stated = tool.get("ini_options", tool).get("pythonpath", [])
            if stated:
                return shlex.split(stated) if isinstance(stated, str) else [str(path) for path in stated]
        return next((found for name in ("tox.ini", "setup.cfg") if (found := _ini(root / name))), [])
    except (OSError, ValueError, configparser.Error, AttributeError):
        return []


def _ini(path: Path) -> list[str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path, encoding="utf-8")
    return shlex.split(parser.get(_SECTIONS[path.name], "pythonpath", fallback=""))
