"""Which files the user's code reads while it builds a model: what comes of it depends on them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

_watching: list[set[str]] = []


@contextmanager
def files_opened() -> Iterator[set[str]]:
    """The paths that Python opens for reading inside the block; what a library's native code opens is not seen."""
    _install()
    seen: set[str] = set()
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching[:] = [each for each in _watching if each is not seen]  # another may have seen the same


@cache
def _install() -> None:
    """An audit hook stays for the life of the process, so there is one, and it looks away when nobody watches."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not _watching or not isinstance(arguments[0], str | Path):
            return
        if not set(arguments[1] or "") & set("wax+"):
            for seen in _watching:
                seen.add(str(arguments[0]))

    sys.addaudithook(hook)
