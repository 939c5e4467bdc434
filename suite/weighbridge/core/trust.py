"""Files that the user trusts to run code: by name and SHA-256, as the case says, and no other file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePath

from weighbridge.core.errors import StageError

_TRUSTED: ContextVar[Mapping[str, str]] = ContextVar("trusted", default={})  # noqa: B039 (never written to)
TRUSTED = "trusted"
"""The key of an artifact's `source` that says that Weighbridge wrote it, or that the case trusts the file that it is."""


@contextmanager
def trusting(files: Mapping[str, str]) -> Iterator[None]:
    """Inside, files with these SHA-256 (hexadecimal, by the file's name) may run code when they are opened."""
    token = _TRUSTED.set({PurePath(name).name: digest for name, digest in files.items()})
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def is_trusted(path: Path) -> bool:
    """Whether the file's contents are trusted, wherever it lies; raises `StageError` where its name alone is."""
    files = _TRUSTED.get()
    if not files or not path.is_file():
        return False
    digest = _digest(path)
    if path.name in files and files[path.name] != digest:
        raise StageError(
            "load",
            f"{path.name} is not the file that the case trusts: its SHA-256 is {digest}, under `trust` stands "
            f"{files[path.name]}",
        )
    return digest in files.values()


def refusal(path: Path, why: str) -> StageError:
    """That a file is not opened, and the line by which the user may trust it."""
    return StageError(
        "load",
        f"{path.name} is not opened: {why}. Where you trust whoever made it with your machine, say so in the case: "
        f"`trust: {{{path.name}: {_digest(path)}}}`",
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
