"""Whether what a case needs is present, and the sentence that says how to get it."""

from __future__ import annotations

import importlib.util
import platform
from functools import cache
from pathlib import Path

from weighbridge.contracts import ENGINES, Requirement


def missing(requirement: Requirement) -> str | None:
    """None when `requirement` is met, else one sentence for the user."""
    present = {"package": _package, "isa": _isa, "path": _path, "engine": _engine}[requirement.kind](
        requirement.name
    )
    if present:
        return None
    how = f"; install it with: {requirement.install}" if requirement.install else ""
    what = {
        "package": "the package",
        "isa": "the instruction set",
        "path": "the path",
        "engine": "the engine",
    }[requirement.kind]
    return f"needs {what} '{requirement.name}', which is absent here{how}"


def _package(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _path(name: str) -> bool:
    return Path(name).expanduser().exists()


def _isa(name: str) -> bool:
    return name.lower() in isa()


def _engine(name: str) -> bool:
    return name in ENGINES and all(missing(requirement) is None for requirement in ENGINES.get(name).requires)


@cache
def isa() -> frozenset[str]:
    """The processor's instruction set flags, lower case: `avx2`, `avx512_vnni`, `asimddp`."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].lower().split())
    return frozenset({platform.machine().lower()})
