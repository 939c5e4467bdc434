"""Which files the user's code reads, while it is imported and when it is called: what comes of it depends on them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from weighbridge.core.files import Stamp, is_installed, stamp_of

_watching: list[set[str]] = []
_on_import: dict[str, set[str]] = {}
"""By the code file whose own statements opened them."""
_in_calls: dict[str, dict[str, Looks]] = {}
"""By each code file that was running, samples apart."""
_written: set[str] = set()
"""What code that was running opened to write into it."""
_CODE = (".py", ".pyc")
_OURS = str(Path(__file__).parents[1]) + os.sep
_SAMPLES = frozenset(str(Path(__file__).with_name(name)) for name in ("data.py", "opening.py", "splits.py"))
"""Our own code that reads samples: they are known by what is in them."""


@dataclass
class Looks:
    """How a file was when code opened it to read: the first time and the last; None where it was not there."""

    first: Stamp | None
    last: Stamp | None


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


def read_in_calls(files: Iterable[Path]) -> dict[Path, Looks]:
    """What has been opened since `watch` while these code files were running, but for the samples of a case.

    It is remembered since a function may read a list of names once a process and keep it. A file that was written in such
    calls, and is not as it was at first, is what they made, as a log or a history is, and left out.
    """
    found = {name: looks for file in files for name, looks in _in_calls.get(str(file), {}).items()}
    return {
        Path(name): looks
        for name, looks in found.items()
        if name not in _written or looks.first == stamp_of(name)
    }


@cache
def watch() -> None:
    """An audit hook stays for the life of the process, so there is one."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "sqlite3.connect") or not isinstance(arguments[0], str | bytes | Path):
            return
        name, reads, writes = _opened(event, *arguments)
        if reads:
            for seen in _watching:
                seen.add(name)
        if name.endswith(_CODE):
            return
        place = os.path.abspath(name)  # noqa: PTH100 (keeps links as they are)
        if reads and (module := _importing()) is not None:
            _on_import.setdefault(module, set()).add(place)
        for file in _running():
            if writes:
                _written.add(place)
            if reads:
                now, looks = stamp_of(place), _in_calls.setdefault(file, {})
                looks[place] = Looks(looks[place].first if place in looks else now, now)

    sys.addaudithook(hook)


def _opened(
    event: str, path: str | bytes | Path, mode: str | None = None, flags: int = 0
) -> tuple[str, bool, bool]:
    """The path of an audit event, and whether it is opened to be read, and to be written."""
    name = os.fsdecode(path)
    if event == "sqlite3.connect":
        is_file = name not in ("", ":memory:")
        return name.removeprefix("file:").partition("?")[0], is_file, is_file and "mode=ro" not in name
    if mode is None:  # of `os.open`
        access = flags & (os.O_WRONLY | os.O_RDWR)
        return name, access != os.O_WRONLY and not flags & os.O_TRUNC, access != os.O_RDONLY
    return name, not set(mode) & set("wax"), bool(set(mode) & set("wax+"))


def _importing() -> str | None:
    """The innermost code file that is being imported, if one is: a library's own is not its importer's."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    if frame is None or frame.f_globals.get("__name__") == "__main__":
        return None
    return os.path.realpath(frame.f_code.co_filename)


def _running() -> set[str]:
    """The user's code files on the stack that we have called; none where they are asked for samples.

    A thread of theirs, such as one that reads samples ahead, is called by nobody.
    """
    found, called, frame = set[str](), set[str](), sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name in _SAMPLES:
            return set()
        if (file := _users(name)) is not None:
            found.add(file)
        elif name.startswith(_OURS):
            called |= found  # not what is further out, such as a script that runs pytest itself
        frame = frame.f_back  # type: ignore[assignment]
    return called


@cache
def _users(name: str) -> str | None:
    """The code file of that name, if it is neither our own nor installed; generated code has no file."""
    if name.startswith(("<", _OURS)) or is_installed(Path(name)):
        return None
    return os.path.realpath(name)
