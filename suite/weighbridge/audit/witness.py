"""That what was measured is what is recorded: files that changed while they were audited get no record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from weighbridge.audit.sign import Refused


class Witness:
    """Which file each path is and when it was last changed, taken before anything is opened.

    The time of the last change cannot be set by whoever changes a file, so that a file that was exchanged and put back
    is seen as well.
    """

    def __init__(self) -> None:
        self._before: dict[Path, tuple[int, ...] | None] = {}

    def watch(self, paths: Iterable[Path]) -> None:
        self._before |= {path: _state(path) for path in paths}

    def check(self) -> None:
        """Raises `Refused` where a file is not the one that was there at first."""
        for path, before in self._before.items():
            if _state(path) != before:
                raise Refused(
                    f"{path.name} was changed while it was audited, so that nothing is recorded of it"
                )


def check_digests(report: Mapping[str, Any], statement: Mapping[str, Any]) -> None:
    """Raises `Refused` where a file had other contents when it was weighed than those that are recorded."""
    recorded = {one["digest"]["sha256"] for one in statement["subject"]}
    for row in report["rows"]:
        candidate = row["artifacts"]["candidate"]
        for one in candidate["files"] if candidate else ():
            if one["sha256"] not in recorded:
                raise Refused(f"{one['path']} had other contents when it was weighed than it has now")


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
