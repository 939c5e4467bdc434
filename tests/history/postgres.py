"""A PostgreSQL server of its own, in a folder of its own, reached by a socket in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INSTALL = "needs PostgreSQL's server: apt-get install postgresql"
_USERS = ("postgres", "nobody")


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`, which Debian keeps off the path."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


@contextmanager
def server(bin_folder: Path) -> Iterator[str]:
    """Gives the URL. It refuses to run as root, so that another user has it then."""
    folder = Path(tempfile.mkdtemp(prefix="wb-postgres-"))
    user = _other_user() if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    common = {"user": user, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "cwd": folder}
    data = folder / "data"
    command = [bin_folder / "initdb", "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(command, check=True, **common)  # type: ignore[call-overload]
    options = ["-c", "listen_addresses=", "-c", "fsync=off", "-k", str(folder)]
    running = subprocess.Popen([bin_folder / "postgres", "-D", data, *options], **common)  # type: ignore[call-overload]
    try:
        for line in running.stderr:
            if b"ready to accept connections" in line:
                break
        yield f"postgresql://tester:secret@/postgres?host={folder}"
    finally:
        running.terminate()
        running.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def _other_user() -> str:
    import pwd

    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _USERS if name in known)
