"""Files that a verb writes into a user's project: all of them new, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from weighbridge.core.errors import UsageError


def refuse_existing(paths: Mapping[Path, str], instead: str = "choose another place") -> None:
    """Raises `UsageError` where a file is there that holds something else: nothing of a user's is written over."""
    _refuse([path for path, text in paths.items() if path.exists() and not _holds(path, text)], instead)


def refuse_there(path: Path | None) -> None:
    """Raises `UsageError` where anything is at `path`, an empty file too: for what is only made after long work."""
    _refuse([path] if path is not None and path.exists() else [], "choose another place")


def write_new(paths: Mapping[Path, str]) -> None:
    """Write each file, with the folders above it. Raises `UsageError`, before anything is written, for one that exists."""
    refuse_existing(paths)
    for path, text in paths.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _refuse(taken: Sequence[Path], instead: str) -> None:
    if taken:
        what, them = ("files are", "them") if len(taken) > 1 else ("file is", "it")
        raise UsageError(
            f"{' and '.join(map(str, taken))}: the {what} there already, and nothing is written over; move {them} away, or "
            f"{instead}"
        )


def _holds(path: Path, text: str) -> bool:
    try:
        return path.is_file() and path.read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        return False
