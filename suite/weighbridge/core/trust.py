"""Files that the user trusts to run code: by name and SHA-256, as the case says, and no other file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePath

from weighbridge.core.errors import StageError
from weighbridge.core.files import file_digest
from weighbridge.core.flow import flow

_TRUSTED: ContextVar[Mapping[str, set[str]]] = ContextVar("trusted", default={})  # noqa: B039 (never written to)
TRUSTED = "trusted"
"""The key of an artifact's `source` that says that Weighbridge wrote it, or that the case trusts the file that it is."""


@contextmanager
def trusting(files: Mapping[str, str]) -> Iterator[None]:
    """Inside, files with these SHA-256 (hexadecimal, by the file's path) may run code when they are opened.

    Of a path only the name counts, since a file is copied before it is opened; several files may have one name.
    """
    by_name: dict[str, set[str]] = {}
    for path, digest in files.items():
        by_name.setdefault(PurePath(path).name, set()).add(digest)
    token = _TRUSTED.set(by_name)
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def is_trusted(path: Path) -> bool:
    """Whether the file's contents are trusted, wherever it lies; raises `StageError` where its name alone is."""
    files = _TRUSTED.get()
    if not files or not path.is_file():
        return False
    digest = file_digest(path)
    trusted = any(digest in digests for digests in files.values())
    if path.name in files and not trusted:
        raise StageError(
            "load",
            f"{path.name} is not the file that the case trusts: its SHA-256 is {digest}, under `trust` stands "
            f"{' and '.join(sorted(files[path.name]))}. Where you trust this file too, add `{flow(_key(path))}: {flow(digest)}`",
        )
    return trusted


def refusal(path: Path, why: str) -> StageError:
    """That a file is not opened, and the line by which the user may trust it."""
    return StageError(
        "load",
        f"{path.name} is not opened: {why}. Where you trust whoever made it with your machine, say so in the case: "
        f"`trust: {flow({_key(path): file_digest(path)})}`",
    )


def _key(path: Path) -> str:
    """What the file is called, with its folder: two that have one name stand under `trust` beside each other."""
    whole = Path.cwd() / path
    inside = whole.is_relative_to(Path.cwd())
    return whole.relative_to(Path.cwd()).as_posix() if inside else "/".join(whole.parts[-2:])
