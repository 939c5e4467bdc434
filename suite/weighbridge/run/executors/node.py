"""A node's side of the `ray` executor: it hands the case to a worker of its own, as `process` does at home.

What a case does to its process, its limits and its last words are thereby what they are everywhere.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from weighbridge.core.code import own_digest
from weighbridge.core.errors import UsageError, WeighbridgeError
from weighbridge.core.files import file_digest, is_file
from weighbridge.core.registry import Origin
from weighbridge.environment.machine import describe, machine_class
from weighbridge.run.events import Event, event_to_json
from weighbridge.run.executors.process import Process
from weighbridge.run.extensions import load_extension
from weighbridge.run.job import Job, job_from_json, job_to_json
from weighbridge.run.keys import make_key
from weighbridge.run.store import Store

NODE, ROW, EVENTS, MACHINE, REFUSED = "node", "row", "events", "machine", "refused"


def parcel(job: Job, book: Path) -> dict[str, Any]:
    """A job as a node is handed it. `book` is a file in the run's store, in which whoever carries out the case signs."""
    root = job.options.root.resolve()
    return {
        **job_to_json(job),
        "folder": str(Path.cwd()),
        # What is installed is the node's own; of the import path only the project's part is the same everywhere.
        "sys_path": [path for path in sys.path if path and Path(path).resolve().is_relative_to(root)],
        "book": str(book),
        "case_sha256": file_digest(job.plan.case.path),
        "weighbridge": own_digest(),
    }


def carry_out(data: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a case, and what happened meanwhile; or why this node cannot carry it out."""
    import ray

    name = f"{platform.node()} ({ray.get_runtime_context().get_node_id()[:8]})"
    here = {NODE: name, MACHINE: machine_class(describe())}
    events: list[Event] = []
    try:
        _check(data)
        with Path(data["book"]).open("a", encoding="utf-8") as book:
            book.write(f"{name}\n")
        os.chdir(data["folder"])
        sys.path[:] = [*data["sys_path"], *(path for path in sys.path if path not in data["sys_path"])]
        for origin in data["origins"]:
            load_extension(Origin(**origin))
        job = job_from_json(data)
        own = _own_folder(str(job.options.root))
        options = replace(job.options, clock=own, store=own if job.options.beyond else job.options.store)
        row = _worker().run(replace(job, options=options), events.append).row()
        if job.options.beyond:
            Store(own).prune()
    except WeighbridgeError as error:
        return {**here, REFUSED: str(error)}
    return {**here, ROW: row, EVENTS: [event_to_json(event) for event in events]}


@cache
def _worker() -> Process:
    """Ray uses this process for one case after the other, and it does so with its worker."""
    return Process()


def _check(data: Mapping[str, Any]) -> None:
    """Raise `UsageError` where this node has not the project's files or not the same Weighbridge."""
    case = Path(data["plan"]["case"]["path"])
    book = Path(data["book"])
    for path, seen in ((case, _is(case, data["case_sha256"])), (book.parent, is_file(book))):
        if not seen:
            raise UsageError(
                f"it does not see {path} as the machine that runs pytest does; the project's folder has to be shared with "
                "every node, at the same path"
            )
    if own_digest() != data["weighbridge"]:
        raise UsageError("its Weighbridge is another one; install the same version on every node")


def _is(path: Path, sha256: str) -> bool:
    try:
        return file_digest(path) == sha256
    except OSError:
        return False


def _own_folder(root: str) -> Path:
    """Where the processes of this node meet, which the shared folder is not: they take turns at the clock of one machine."""
    folder = Path(tempfile.gettempdir()) / f"weighbridge-of-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UsageError(f"{folder} belongs to another user; set TMPDIR to a folder of your own on the node")
    return folder / make_key(root)
