"""Whether plain `pytest` comes by a new case, by the settings that a project has already."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from weighbridge.plugin.options import YAML


def missing_settings(stated: Mapping[str, Any], case: Path) -> list[str]:
    """The settings that `stated` lacks for `pytest` alone to find `case`, a line each; none where it does."""
    lines = []
    patterns = _several(stated, "testpaths")
    named = [Path(found) for each in patterns for found in glob.glob(each)]  # noqa: PTH207 (a path may be `.`, or absolute)
    # pytest goes by `testpaths` where any of them exists, and looks everywhere else.
    if named and not any(case.absolute().is_relative_to(path.absolute()) for path in named):
        lines.append(_with(stated, "testpaths", _home(case).as_posix()))
    if needs_naming(stated, case):
        lines.append(_with(stated, "weighbridge_cases", (_home(case) / "*.yaml").as_posix()))
    return lines


def needs_naming(stated: Mapping[str, Any], case: Path) -> bool:
    """Whether pytest takes `case` for a case only where the command line names the file."""
    return not any(
        fnmatchcase(_from_here(case).as_posix(), pattern) for pattern in _several(stated, "weighbridge_cases")
    )


def _home(case: Path) -> Path:
    """The folder that this case and its like are in: `cases` of `cases/model/gate.yaml`, `gates` of `gates/gate.yaml`."""
    folder = _from_here(case).parent
    return folder.parent if folder.parent.parts else folder


def _from_here(case: Path) -> Path:
    return Path(os.path.relpath(case))


def _several(stated: Mapping[str, Any], name: str) -> list[str]:
    """A list of TOML, or the words of a text; what pytest takes where it says nothing."""
    value = stated.get(name) or (
        [f"cases/*{suffix}" for suffix in YAML] if name == "weighbridge_cases" else ""
    )
    return list(map(str, value)) if isinstance(value, list) else shlex.split(str(value))


def _with(stated: Mapping[str, Any], name: str, more: str) -> str:
    """The setting with one more value, as a list where the project writes lists."""
    values = [*_several(stated, name), more]
    if any(isinstance(value, list) for value in stated.values()):
        return f"{name} = {values}"
    return f"{name} = " + " ".join(f'"{value}"' if " " in value else value for value in values)
