"""Sound cases beside cases that harm their process, and the one row that each of those must be."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.projects import report_of, write_project

FULL = """
from pathlib import Path


def write_until_full():
    small = Path(__file__).parents[1] / "small"
    with (small / "dump" if small.is_mount() else Path("/dev/full")).open("wb") as file:
        while True:
            file.write(bytes(1_000_000))
"""
CALLABLES = """
import ctypes
import os
import signal
import sys

from model import net


def crashes():
    print("last words", flush=True)
    ctypes.string_at(0)


def aborts():
    os.abort()


def leaves():
    os._exit(0)


def leaves_with_a_number():
    os._exit(7)


def raises_system_exit():
    sys.exit("enough")


def is_killed(outputs, targets):
    os.kill(os.getpid(), signal.SIGKILL)


def devours():
    held = []
    while True:
        held.append(bytearray(50_000_000))
        held[-1][::4096] = b"x" * len(held[-1][::4096])


def fills_the_disk():
    write_until_full()
    return net()
"""
STEPS = """
import ctypes

from weighbridge.contracts import STEPS, Options, Step


class NoOptions(Options):
    pass


def hangs_in_native_code(model, options, context):
    ctypes.PyDLL(None).sleep(600)  # and keeps the interpreter's lock


def fills_the_disk_too(model, options, context):
    write_until_full()


for function in (hangs_in_native_code, fills_the_disk_too):
    name = function.__name__
    STEPS.add(f"prune:{name}", Step("prune", name, ("torch",), NoOptions, function, must="sparsify"))
"""
SOUND = """
model: {torch: "model.py:net", weights: net.safetensors}
data: model.py:splits
recipe:
  - prune: l1_unstructured
    amount: ${{ matrix.amount }}
thresholds: {accuracy: 0.01, size: 1 GB}
"""
MODEL, DATA, METRIC, STEP = "model", "data", "metric", "step"
WAYS = {
    "crashes": (MODEL, "", "load", r"killed by signal 11 \(SIGSEGV\); its last output: .*last words"),
    "aborts": (DATA, "", "data", r"killed by signal 6 \(SIGABRT\)"),
    "leaves": (DATA, "", "data", r"ended by itself, with exit status 0"),
    "leaves_with_a_number": (MODEL, "", "load", r"ended by itself, with exit status 7"),
    "raises_system_exit": (MODEL, "", "load", r"raised SystemExit: enough"),
    "is_killed": (METRIC, "", "measure", r"killed by signal 9 \(SIGKILL\)"),
    "hangs_in_native_code": (STEP, "limits: {time: 15s}", "prune", r"past its limit of time"),
    "devours": (DATA, "limits: {memory: 1.5 GB}", "data", r"memory, past its limit of 1.5 GB"),
    "fills_the_disk": (MODEL, "", "load", r"No space left on device"),
    "fills_the_disk_too": (STEP, "", "prune", r"No space left on device"),
}
"""Where a case does harm, what limits it, the stage that its row must name, and what its message must say."""


def _case(name: str) -> str:
    place, limits, _, _ = WAYS[name]
    model = f"harm.py:{name}" if place == MODEL else "model.py:net"
    data = f"harm.py:{name}" if place == DATA else "model.py:splits"
    step = f"prune: {name}" if place == STEP else "{prune: l1_unstructured, amount: 0.5}"
    metric = f"metric: harm.py:{name}" if place == METRIC else ""
    return f"""
model: {{torch: "{model}", weights: net.safetensors}}
data: {data}
{metric}
recipe: [{step}]
thresholds: {{accuracy: 0.01, size: 1 GB}}
{limits}
"""


def harm(folder: Path, sound: int, ways: list[str]) -> None:
    """Run `sound` cases with one of each of `ways` between them; asserts a result of each, or an error row."""
    cases = write_project(folder)
    (cases / "harm.py").write_text(FULL + CALLABLES)
    (cases / "conftest.py").write_text(FULL + STEPS)
    every = -(-sound // (len(ways) + 1))
    amounts = [round(0.1 + 0.8 * number / sound, 4) for number in range(sound)]
    for number in range(len(ways) + 1):
        part = amounts[number * every : (number + 1) * every]
        if part:
            (cases / f"{number:02}-sound.yaml").write_text(f"{SOUND}matrix: {{amount: {part}}}\n")
        if number < len(ways):
            (cases / f"{number:02}-{ways[number]}.yaml").write_text(_case(ways[number]))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {row["name"]: row for row in report_of(folder)["rows"]}
    assert len(rows) == sound + len(ways)
    bad = {name.partition("-")[2]: row for name, row in rows.items() if row["status"] != "pass"}
    assert set(bad) == set(ways), done.stdout
    for way, row in bad.items():
        _, _, stage, message = WAYS[way]
        assert (row["status"], row["stage"]) == ("error", stage), row["message"]
        assert re.search(message, row["message"]), row["message"]
        assert {verdict["status"] for verdict in row["verdicts"]} == {"error"}
