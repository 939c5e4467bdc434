"""Whether what a case needs is present, and the sentence that says how to get it."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
from difflib import get_close_matches
from functools import cache
from importlib import metadata
from pathlib import Path

from weighbridge.contracts import ENGINES, FORMATS, STEPS, Requirement
from weighbridge.core.errors import did_you_mean


def missing(*requirements: Requirement) -> str | None:
    """None when every requirement is met, else what is absent and one command for each way to install it."""
    absent: dict[str, list[str]] = {}
    for requirement in requirements:
        why = _why_absent(requirement)
        if why is not None:
            absent.setdefault(requirement.install, []).append(why)
    lines = []
    for install, reasons in absent.items():
        how = f"; install {'it' if len(reasons) == 1 else 'them'} with: {install}" if install else ""
        lines.append(f"needs {', '.join(reasons)}{how}")
    return "; ".join(lines) or None


def _why_absent(requirement: Requirement) -> str | None:
    what, is_present = {
        "package": ("the package", _package),
        "isa": ("the instruction set", _isa),
        "path": ("the path", _path),
        "engine": ("the engine", _engine),
        "command": ("the command", _command),
    }[requirement.kind]
    least = f" {requirement.version} or later" if requirement.version else ""
    if is_present(requirement.name):
        found = found_version(requirement.name) if least else None
        if found is None or _at_least(found, requirement.version):
            return None
        return f"{what} '{requirement.name}'{least} ({found} is installed)"
    return f"{what} '{requirement.name}'{least} (absent here)"


def unknown_name(kind: str, name: str) -> str | None:
    """Why `name` is no requirement that could ever be met, or None: what is only absent here is no fault.

    Nobody knows every package; one that is not installed and differs by a letter from one that is, is misspelt.
    """
    if kind == "engine" and name not in ENGINES:
        return f"unknown engine '{name}'{did_you_mean(name, ENGINES.names())}"
    if kind == "isa" and not re.fullmatch(r"[A-Za-z0-9_.]+", name):
        return f"'{name}' is no instruction set: one flag of the processor, such as avx2, or asimddp"
    if kind == "isa":
        flags = _FLAGS | isa()
        meant = [one for one in sorted(flags) if _letters(one) == _letters(name)]
        if meant and name.lower() not in flags:
            return f"no processor has the flag '{name}'; did you mean '{meant[0]}'?"
    if kind != "package":
        return None
    if not all(part.isidentifier() for part in name.split(".")):
        return f"'{name}' is no package: give the name that `import` takes, without a version"
    if "." not in name and _package(
        name
    ):  # listing every package takes a third of a second, for each case of a file
        return None
    known = set(metadata.packages_distributions()) | {
        requirement.name
        for registry in (ENGINES, FORMATS, STEPS)
        for one in registry
        for requirement in one.requires
        if requirement.kind == "package"
    }
    meant = get_close_matches(name, sorted(known), n=1, cutoff=0.87)
    if meant and name not in known and not _package(name):
        return f"no package '{name}' is known; did you mean '{meant[0]}'?"
    return None


def _letters(flag: str) -> str:
    return re.sub(r"[_.]", "", flag.lower())


def found_version(package: str) -> str | None:
    """The installed version of what `import package` gives; None where its distribution is unknown."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # the distribution has another name, as in tensorflow-cpu
        names = metadata.packages_distributions().get(package, [])
        return metadata.version(names[0]) if names else None


def _at_least(found: str, least: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(found) >= Version(least)
    except InvalidVersion:
        return True


def _package(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return False
    if spec is None:
        return False
    # A folder of that name on the path, as a user's own `tensorflow/`, would import as an empty package.
    return spec.origin is not None or found_version(name) is not None


def _path(name: str) -> bool:
    return Path(name).expanduser().exists()


def _command(name: str) -> bool:
    return shutil.which(name) is not None


def _isa(name: str) -> bool:
    return name.lower() in isa()


def _engine(name: str) -> bool:
    return name in ENGINES and all(missing(requirement) is None for requirement in ENGINES.get(name).requires)


INT8_DOT_PRODUCT = frozenset({"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "arm64"})
"""Any of these flags: one instruction multiplies int8 and sums in 32 bits. `arm64` is all that macOS says of Apple's."""
INT8_WIDE_SUMS = INT8_DOT_PRODUCT | {"asimd"}
"""Any of these flags: no sum of int8 products is kept in 16 bits, as ARM without dot products widens first."""
_FLAGS = INT8_WIDE_SUMS | {"sse4_1", "sse4_2"}
"""Those that are often written without their underscore, or with a full stop for it, whatever this processor has."""


@cache
def isa() -> frozenset[str]:
    """The processor's instruction set flags, lower case: `avx2`, `avx512_vnni`, `asimddp`."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].lower().split())
    return frozenset({platform.machine().lower()})


def overflows_here() -> bool:
    """Whether this processor adds pairs of products of uint8 and int8 in 16 bits, where 8-bit weights overflow."""
    return not isa() & INT8_WIDE_SUMS
