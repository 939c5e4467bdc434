"""Files described in a process of their own: one that crashes its reader costs its own answer, and no other's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from weighbridge.audit.inspect import describe
from weighbridge.core.errors import StageError, WeighbridgeError

_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from weighbridge.audit.apart import main; main(sys.argv[2:])"
TIME_LIMIT_S = 600.0

Answer = dict[str, Any] | WeighbridgeError


def describe_apart(paths: Sequence[Path]) -> Iterator[Answer]:
    """What `describe` says of each, or the error; after a crash the rest go to a fresh process."""
    left = list(paths)
    while left:
        lines, end = _child(left)
        for line in lines:
            yield line["found"] if "found" in line else StageError(line["stage"], line["message"])
        if len(lines) < len(left):
            yield StageError("load", f"{left[len(lines)].name} cannot be read: {end}")
        left = left[len(lines) + 1 :]


def _child(paths: Sequence[Path]) -> tuple[list[dict[str, Any]], str]:
    """The answers that a process gave, in order, and how it ended."""
    command = [
        sys.executable,
        "-c",
        _START,
        json.dumps([path for path in sys.path if path] or [str(Path.cwd())]),
    ]
    try:
        done = subprocess.run(
            [*command, *map(str, paths)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIME_LIMIT_S,
        )
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as error:
        output, code = error.stdout or b"", None
    lines = [json.loads(line) for line in output.splitlines(keepends=True) if line.endswith(b"\n")]
    ended = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
    return lines, f"its reader {ended if code is not None else 'did not end'}"


def main(names: Sequence[str]) -> None:
    """The other end: a line of JSON a file."""
    with open(1, "w", encoding="utf-8", closefd=False) as answers:
        for name in names:
            try:
                line: dict[str, Any] = {"found": describe(Path(name))}
            except StageError as error:
                line = {"stage": error.stage, "message": error.message}
            except WeighbridgeError as error:
                line = {"stage": "load", "message": str(error)}
            answers.write(json.dumps(line) + "\n")
            answers.flush()
