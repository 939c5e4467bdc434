"""What can be seen of a zip archive before a library opens it: its names, and how large it becomes."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

from weighbridge.core.errors import StageError, first_line

FLOOR, TIMES = 64 << 20, 100
"""An archive may become so many bytes, or so many times its own size: numbers deflate to a tenth, bombs to a thousandth."""


def members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The archive's entries by name; raises `StageError` for one that no library should unpack."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise StageError(
            "load", f"{path.name} cannot be read, it is truncated or no archive: {first_line(error)}"
        ) from error
    found = {entry.filename: entry for entry in entries}
    if len({name.lower() for name in found}) < len(entries):
        raise _refused(
            path, "two of its entries have the same name"
        )  # which of them is read depends on the reader
    for name, entry in found.items():
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\\" in name or ":" in name:
            raise _refused(path, f"its entry '{name}' leads out of the archive")
        if entry.external_attr >> 28 == 0o12:
            raise _refused(path, f"its entry '{name}' is a link")
    size, large = path.stat().st_size, sum(entry.file_size for entry in entries)
    if large > max(FLOOR, TIMES * size):
        raise _refused(path, f"its {size:,} bytes unpack to {large:,}")
    return found


def content(path: Path, name: str) -> bytes:
    """One entry's bytes, of an archive that `members` has looked at; raises `StageError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)
    except Exception as error:  # zipfile's, zlib's and lzma's own share no base
        raise StageError("load", f"{path.name} is damaged: {first_line(error)}") from error


def _refused(path: Path, why: str) -> StageError:
    return StageError("load", f"{path.name} is not opened: {why}")
