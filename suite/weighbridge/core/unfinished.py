"""Names for files and folders that are still being written, and the removal of those that a killed process left."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import uuid
from pathlib import Path


def unfinished(folder: Path, prefix: str = "") -> Path:
    """A new name in `folder` for what is moved to its place once it is whole. It tells which process is at it."""
    return folder / f"{prefix}{os.getpid()}@{socket.gethostname()}@{uuid.uuid4().hex[:8]}"


def clear_abandoned(folder: Path, prefix: str = "") -> None:
    """Remove what `unfinished` named in `folder` for processes of this machine that are gone."""
    pattern = f"{glob.escape(prefix)}*@{glob.escape(socket.gethostname())}@*"
    for path in folder.glob(pattern):
        pid = path.name.removeprefix(prefix).partition("@")[0]
        if not pid.isdigit() or _runs(int(pid)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    """Whether it runs still: where nobody asks for the exit status of a killed process, as in many containers, its entry
    stays for good, and that is no process.
    """
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, OverflowError, ValueError):
        return False
    except psutil.Error:  # another user's process
        return True
