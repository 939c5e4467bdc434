"""Files of somebody else's: read where they are files, and no further than anybody would write; hashed, and named; and
whether they were installed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sysconfig
from functools import cache
from pathlib import Path
from typing import TypeAlias

Stamp: TypeAlias = tuple[int, int, int]
"""What `stamp` gives: two times in nanoseconds since 1970, and bytes."""
WEIGHTS = (".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".npy", ".npz", ".pt", ".pth", ".safetensors")
"""How the names of files end that builders read weights from."""


def is_file(path: Path) -> bool:
    """Whether there is such a file: False too of a text that can be no path, such as one longer than any name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a file of at most `most`; raises `OSError` for a folder, a pipe, a device, and for what is longer.

    A pipe nobody writes to never ends, and `/dev/zero` never does.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is a folder, a pipe or a device, not a file")
    with path.open("rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most >> 20} MiB")
    return raw


def stamp(path: str | Path) -> Stamp:
    """What tells that a file has changed while a process watches it: both its times, of which a program can set one, and
    its size. Raises `OSError`."""
    found = os.stat(path)  # noqa: PTH116 (a sweep asks often, and a path costs more than the call)
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size


def stamp_of(path: str | Path) -> Stamp | None:
    """The same, None where there is no such file, or could be none."""
    try:
        return stamp(path)
    except (OSError, ValueError):
        return None


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shown(path: Path, root: Path) -> str:
    """A file as the project calls it; of one that lies elsewhere, its name alone."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def is_installed(path: Path) -> bool:
    """Whether a file or folder of code came with Python, or with a package that was installed: a version stands for it."""
    if not {"site-packages", "dist-packages"}.isdisjoint(path.parts):
        return True
    return any(path.is_relative_to(place) for place in _python_places())


@cache
def _python_places() -> tuple[Path, ...]:
    return tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "scripts"))
