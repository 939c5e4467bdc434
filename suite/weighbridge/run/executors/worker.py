"""The other end of the `process` executor: a process that carries out one job after the other.

Jobs come as lines of JSON on standard input; events and results go out the same way on what was standard output.
Whatever a case prints goes to standard error, which the parent keeps in a file.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.registry import Origin
from weighbridge.environment.parent import die_with_parent
from weighbridge.environment.process_state import ProcessState, watch_torch

READY, RESULT, REFUSED = "ready", "result", "refused"


def main() -> None:
    """Work until the parent is gone, or until a case has left the process in a state that cannot be mended."""
    die_with_parent()
    jobs, answers = _channels()
    watch_torch()
    importlib.import_module("weighbridge.run.pipeline")
    _send(answers, {"event": READY})
    while (line := jobs.get()) is not None:
        data = json.loads(line)
        _preload(data)
        state = ProcessState.capture()
        answer = _answer(data, answers)
        healthy = state.restore()
        _send(answers, {**answer, "healthy": healthy})
        if not healthy:
            return


def _channels() -> tuple[queue.Queue[str | None], IO[str]]:
    """Jobs and answers; standard input and output are then the case's own, and lead nowhere and to the log."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    jobs: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in requests:
            jobs.put(line)
        jobs.put(None)  # the parent is gone

    threading.Thread(target=read, daemon=True, name="weighbridge-jobs").start()
    return jobs, answers


def _answer(data: Mapping[str, Any], answers: IO[str]) -> dict[str, Any]:
    from weighbridge.run.events import event_to_json
    from weighbridge.run.extensions import load_extension
    from weighbridge.run.job import job_from_json
    from weighbridge.run.pipeline import run_case

    try:
        with _rooted(data):
            for origin in data["origins"]:
                load_extension(Origin(**origin))
            job = job_from_json(data)
            _load_profile(job.options.hypothesis_profile)
            result = run_case(job, lambda event: _send(answers, event_to_json(event)))
    except WeighbridgeError as error:
        return {"event": REFUSED, "message": str(error)}
    return {"event": RESULT, "row": result.row()}


@contextlib.contextmanager
def _rooted(data: Mapping[str, Any]) -> Iterator[None]:
    """In the parent's working directory, with the parent's import path."""
    os.chdir(data["folder"])
    sys.path[:] = data["sys_path"]
    yield


def _preload(data: Mapping[str, Any]) -> None:
    """Import what the case will, before the state is taken down: settings of what is not loaded cannot be put back."""
    from weighbridge.contracts import ENGINES, FORMATS

    case = data["plan"]["case"]
    folder, format_ = Path(case["path"]).parent, case["model"]["format"]
    named = [case["model"]["reference"], case.get("data"), case.get("metric")]
    files = [folder / name.rpartition(":")[0] for name in named if isinstance(name, str) and ".py:" in name]
    packages = ["numpy"]
    if format_ in FORMATS:
        packages += ENGINES.get(FORMATS.get(format_).engine).packages
    if any(b"torch" in path.read_bytes() for path in files if path.is_file()):
        packages.append("torch")
    for package in packages:
        with contextlib.suppress(ImportError):
            importlib.import_module(package)


def _load_profile(name: str) -> None:
    if name != "default":
        from hypothesis import settings

        from weighbridge.numerics.hunt import register_profiles

        register_profiles()
        settings.load_profile(name)


def _send(answers: IO[str], data: Mapping[str, Any]) -> None:
    answers.write(json.dumps(data) + "\n")
    answers.flush()
