"""Which files the user's code reads while it is imported, or builds a model: what comes of it depends on them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

_watching: list[set[str]] = []
_on_import: dict[str, set[str]] = {}
"""By the code file whose own statements opened them."""
_CODE = (".py", ".pyc")


@contextmanager
def files_opened() -> Iterator[set[str]]:
    """The paths that Python opens for reading inside the block; what a library's native code opens is not seen."""
    watch()
    seen: set[str] = set()
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching[:] = [each for each in _watching if each is not seen]  # another may have seen the same


def read_on_import(files: Iterable[Path]) -> set[Path]:
    """What the statements of these code files, their functions' calls apart, have opened since `watch`.

    It is remembered since a module is imported once a process, by whichever case comes first.
    """
    return {Path(name) for file in files for name in _on_import.get(str(file), ())}


@cache
def watch() -> None:
    """An audit hook stays for the life of the process, so there is one."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str | Path):
            return
        if set(arguments[1] or "") & set("wax+"):
            return
        name = str(arguments[0])
        for seen in _watching:
            seen.add(name)
        if not name.endswith(_CODE) and (module := _importing()) is not None:
            _on_import.setdefault(module, set()).add(os.path.abspath(name))  # noqa: PTH100 (keeps links as they are)

    sys.addaudithook(hook)


def _importing() -> str | None:
    """The innermost code file that is being imported, if one is: a library's own is not its importer's."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None or frame.f_globals.get("__name__") == "__main__":
        return None
    return os.path.realpath(frame.f_code.co_filename)
