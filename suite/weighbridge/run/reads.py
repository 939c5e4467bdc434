"""The files that the code of a case has read, which what it made depends on: a stored result serves while they are as they were.

What the code will read when it is called is not known before, so it is no part of a key. It is kept with each entry, and
looked at when the entry is found.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from weighbridge.case.model import Case
from weighbridge.core.code import code_files, content_digest, place_in_project
from weighbridge.core.files import WEIGHTS, is_file, stamp_of
from weighbridge.core.observed import Looks, read_in_calls
from weighbridge.core.registry import origins
from weighbridge.run.bundle import conftests, named_files, named_modules

_OF_TOOLS = {"__pycache__", ".git"}
"""Folders of what Python, numba and git keep for themselves."""
_CHANGED = "changed under the hands of whoever read it"
"""In place of a hash: what was read is not what is there, so nothing made with it serves again."""


class Reads:
    """Of one case, in the project at `root`; what lies in the folders `but` is Weighbridge's own."""

    def __init__(self, case: Case, root: Path, *but: Path | None) -> None:
        self._case, self._root = case, root.resolve()
        self._but = [folder.resolve() for folder in but if folder is not None]
        self._earlier: dict[str, str] = {}
        self._names: dict[Path, str] = {}
        self._began = time.time_ns()

    def now(self) -> dict[str, str]:
        """The SHA-256 of each file that was read by now, here or by who made the entries that were found; empty where there
        is none, since code may look for a file that somebody writes later.
        """
        code = {path for path in named_files(self._case) if path.suffix == ".py"}
        extensions = [Path(origin.file) for origin in origins() if origin.file]
        files = code_files(
            [*code, *named_modules(self._case), *conftests(self._case, self._root), *extensions], self._root
        )
        found = {}
        for path, looks in read_in_calls(files).items():
            name = self._name(path)
            if name and not self._is_made_on_the_way(path, looks):
                found[name] = self._digest(name) if looks.last == stamp_of(path) else _CHANGED
        return dict(sorted({**self._earlier, **found}.items()))

    def are_as_now(self, read: Mapping[str, str]) -> bool:
        """Whether the files that an entry was made with are as they were; if so, what is made with it depends on them too."""
        if any(self._digest(name) != digest for name, digest in read.items()):
            return False
        self._earlier.update(read)
        return True

    def _name(self, path: Path) -> str:
        """In the project; empty of what is no file of the user's there. Remembered, since a step may read very many."""
        if path not in self._names:
            place = place_in_project(path, self._root)
            is_users = (
                place is not None
                and not path.is_dir()
                and not _OF_TOOLS.intersection(place.parts)
                and not any(map(path.resolve().is_relative_to, self._but))
            )
            self._names[path] = place.as_posix() if place is not None and is_users else ""
        return self._names[path]

    def _is_made_on_the_way(self, path: Path, looks: Looks) -> bool:
        """Whether these are weights that were written while the case ran, as a training keeps the best so far and takes them in
        the end. Native code writes such a file unseen, and each case writes it anew.
        """
        return path.suffix in WEIGHTS and looks.last is not None and looks.last[0] >= self._began

    def _digest(self, name: str) -> str:
        path = self._root / name
        try:
            return content_digest(path) if is_file(path) else ""
        except OSError:  # nobody may read it, and the code went on without it
            return ""
