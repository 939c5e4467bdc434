"""Commands and what they take: processor time and memory of the whole process tree, and time on the wall."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from recipes import Recipe, case_file

ROOT = Path(__file__).parents[1]
LOOKS = 0.1
"""Seconds from one look at a command's memory to the next."""


@dataclass(frozen=True)
class Taken:
    """Seconds, what was printed, and bytes."""

    processor: float
    wall: float
    out: str
    peak: int
    """Of the resident sets of all processes together: what two share counts twice."""


def take(
    folder: Path, *command: str, python: str = sys.executable, may_fail: bool = False, **environment: str
) -> Taken:
    """Run a command in `folder`; raises `SystemExit` with its output where it fails, unless it may end with 1.

    Bytecode is kept between runs.
    """
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    own["PYTHONPATH"] = os.pathsep.join([str(ROOT / "suite"), own.get("PYTHONPATH", "")]).strip(os.pathsep)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(
        [python, *command],
        cwd=folder,
        env={**own, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    peak, ended = 0, False
    while not ended:
        try:
            out, err = process.communicate(timeout=LOOKS)
            ended = True
        except subprocess.TimeoutExpired:
            peak = max(peak, _resident(process.pid))
        except BaseException:
            process.kill()
            raise
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode not in (0, 5, *([1] if may_fail else [])):
        raise SystemExit(out + err)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(processor, wall, out, peak)


def _resident(pid: int) -> int:
    """Bytes of a process and its descendants; what ends meanwhile has none."""
    found = 0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                found += process.memory_info().rss
    return found


def told(
    folder: Path, timeout: float, python: str, script: str, *arguments: str, path: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], str]:
    """The lines of JSON that a script of this folder printed, and how it ended: it may crash, and is ended after the timeout.

    Whatever quantizers leave lying is left in `folder`; `path` are the folders it imports from.
    """
    process = subprocess.Popen(
        [python, "-W", "ignore", str(ROOT / "benchmarks" / script), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
        said = (err.strip().splitlines() or [""])[-1]
        code = process.returncode
        ended = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}, {said}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        ended = f"no end within {timeout:g} s"
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return [json.loads(line) for line in out.splitlines()], ended


def pytest(folder: Path, *arguments: str, may_fail: bool = False, **environment: str) -> Taken:
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments)
    return take(folder, *words, may_fail=may_fail, **environment)


def bare(folder: Path, *options: str) -> Taken:
    """`write_project`'s recipes, by `bare.py`."""
    return take(
        folder,
        str(ROOT / "benchmarks" / "bare.py"),
        str(folder / "cases"),
        str(folder / "bare.json"),
        *options,
    )


def write_project(folder: Path, subject: Mapping[str, Any], recipes: Sequence[Recipe]) -> None:
    """A shipped model with `recipes` as its only cases."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(
        ROOT / "cases" / subject["folder"], folder / "cases", ignore=shutil.ignore_patterns("*.yaml")
    )
    (folder / "cases" / "bench.yaml").write_text(case_file(subject, recipes))
    (folder / "bare.json").write_text(json.dumps({**subject, "recipes": recipes}))


def forget(folder: Path) -> None:
    """A cold store."""
    for name in (".weighbridge", "reports"):
        shutil.rmtree(folder / name, ignore_errors=True)


def weighed(folder: Path) -> dict[str, Any]:
    """Of the last run through pytest, what `bare.py` prints."""
    rows = json.loads((folder / "reports" / "latest.json").read_text())["rows"]
    return {row["name"]: {side: _side(row, side) for side in ("candidate", "baseline")} for row in rows}


def _side(row: Mapping[str, Any], side: str) -> dict[str, Any]:
    size = sum(file["bytes"] for file in row["artifacts"][side]["files"])
    return {"bytes": size, "accuracy": row["measurements"]["accuracy"][side]}
