"""pytest's own settings in a folder, for the commands that run beside pytest: read where pytest reads them, and as it does."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import iniconfig

_Settings = Mapping[str, Any]


def pytest_settings(folder: Path) -> _Settings | None:
    """What the first file says that pytest takes for its settings, an empty mapping where that one cannot be read, which is
    pytest's to tell; None where pytest has no settings in `folder`.
    """
    for name, read in _READERS.items():
        if (folder / name).is_file():
            try:
                found = read(folder / name)
            except (OSError, ValueError, AttributeError, iniconfig.ParseError):
                return {}
            if found is not None:
                return found
    return None


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _of_pytest_toml(path: Path) -> _Settings:
    return dict(_toml(path).get("pytest", {}))


def _of_pyproject(path: Path) -> _Settings | None:
    """Two forms: values of TOML under `tool.pytest`, or texts as in an ini file under `ini_options`."""
    tool = _toml(path).get("tool", {}).get("pytest", {})
    own = {name: value for name, value in tool.items() if name != "ini_options"}
    return own or tool.get("ini_options")


def _of_ini(section: str) -> Callable[[Path], _Settings | None]:
    def read(path: Path) -> _Settings | None:
        found = iniconfig.IniConfig(str(path))
        return dict(found[section].items()) if section in found else None

    return read


def _of_pytest_ini(path: Path) -> _Settings:
    return _of_ini("pytest")(path) or {}


_READERS: Mapping[str, Callable[[Path], _Settings | None]] = {
    "pytest.toml": _of_pytest_toml,
    ".pytest.toml": _of_pytest_toml,
    "pytest.ini": _of_pytest_ini,
    ".pytest.ini": _of_pytest_ini,
    "pyproject.toml": _of_pyproject,
    "tox.ini": _of_ini("pytest"),
    "setup.cfg": _of_ini("tool:pytest"),
}
"""In pytest's order: a file with the name of pytest is its settings even if it is empty, another where it has the section."""
