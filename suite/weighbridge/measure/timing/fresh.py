"""A model opened and run in a process of its own, and what that cost: `python -m weighbridge.measure.timing.fresh`.

The parent sends data on standard input and reads the answer from a file, so that nothing a library prints gets in
between. The engine's package is imported before the clock starts and before memory is counted.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.contracts import ENGINES, Inputs, Weighing
from weighbridge.core.errors import StageError
from weighbridge.core.results import Artifact
from weighbridge.measure.timing.tree import Tree

LONGEST_S = 600
WARM_RUNS = 3


@dataclass(frozen=True)
class Start:
    """What one fresh process saw. Seconds and bytes."""

    import_s: float
    """Importing the engine's package."""
    open_s: float
    """From the closed file to a session."""
    first_s: float
    """The first answer."""
    empty_bytes: int
    """Resident once the engine is imported and nothing is opened."""
    peak_bytes: int
    """Most ever resident while the model was opened and run, in the process and in all that it started."""


def start(weighing: Weighing, artifact: Artifact, inputs: Inputs) -> Start:
    """Open and run `artifact` in a fresh process; raises `StageError` with its last words when it dies."""
    options = weighing.engine_options.model_dump()
    task = pickle.dumps((artifact, weighing.engine.name, options, inputs))
    return Start(**json.loads(_in_fresh_process(task)))


def _in_fresh_process(task: bytes) -> bytes:
    """Run this module with `task` on standard input; gives what it wrote into its file.

    Raises `StageError` with its last words when it dies, or takes longer than `LONGEST_S`.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        paths = os.pathsep.join(path for path in sys.path if path)
        try:
            child = subprocess.run(
                [sys.executable, "-m", __spec__.name, str(answer)],
                input=task,
                capture_output=True,
                timeout=LONGEST_S,
                env={**os.environ, "PYTHONPATH": paths},
            )
        except subprocess.TimeoutExpired:
            raise StageError("measure", f"a fresh process took over {LONGEST_S} s for the model") from None
        if child.returncode != 0 or not answer.exists():
            words = child.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise StageError("measure", f"the model did not start in a fresh process: {words[0]}")
        return answer.read_bytes()


def main() -> None:
    artifact, engine_name, options, inputs = pickle.load(sys.stdin.buffer)
    engine = ENGINES.get(engine_name)
    begin = time.perf_counter()
    for package in engine.packages:
        importlib.import_module(package)
    imported = time.perf_counter()
    tree = Tree()
    empty = _memory("VmRSS")
    _reset_peak()
    with tree.watched():
        opening = time.perf_counter()
        session = engine.open(artifact, engine.options.model_validate(options))
        opened = time.perf_counter()
        session.run(inputs)
        first = time.perf_counter()
        for _ in range(WARM_RUNS):
            session.run(inputs)
    peak = max(_memory("VmHWM"), tree.peak_bytes)
    seen = Start(imported - begin, opened - opening, first - opened, empty, peak)
    Path(sys.argv[1]).write_text(json.dumps(vars(seen)))


def _memory(name: str) -> int:
    """Bytes of `VmRSS` (resident) or `VmHWM` (the most ever resident)."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    import psutil

    info: Any = psutil.Process().memory_info()
    return int(getattr(info, "peak_wset", info.rss) if name == "VmHWM" else info.rss)


def _reset_peak() -> None:
    """Linux: forget the peak that importing has left."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
