"""A run that is killed with SIGKILL at some moment, and what the plain run after it must leave."""

from __future__ import annotations

import difflib
import json
import os
import random
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from safetensors.numpy import load
from tests.projects import as_onnx, report_of, trained, write_project

TORCH = """
model: {torch: model.py:net, weights: net.safetensors}
data: model.py:splits
matrix: {amount: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85], epochs: [1, 2]}
recipe:
  - prune: l1_unstructured
    amount: ${{ matrix.amount }}
  - finetune: {epochs: "${{ matrix.epochs }}", lr: 1e-3}
  - quantize: dynamic
    engine: torch
thresholds: {accuracy_drop: 0.9, size: 1 GB}
"""
ONNX = """
model: {onnx: net.onnx}
data: data.npz
thresholds: {accuracy_drop: 0.9, size: 1 GB, fidelity: -20}
matrix: {per_channel: [true, false], reduce_range: [true, false]}
cases:
"""
DYNAMIC = """
  - name: dynamic-{weights}
    recipe:
      - quantize: dynamic
        weights: {weights}
        per_channel: ${{{{ matrix.per_channel }}}}
        reduce_range: ${{{{ matrix.reduce_range }}}}
"""
STATIC = """
  - name: static-{calibration}
    recipe:
      - quantize: static
        calibration: {calibration}
        per_channel: ${{{{ matrix.per_channel }}}}
        reduce_range: ${{{{ matrix.reduce_range }}}}
"""
CASES = 20
PYTEST = (
    *(sys.executable, "-m", "pytest", "-q", "-p", "weighbridge.plugin.hooks", "-p", "no:cacheprovider"),
    *("-k", "not round_trip"),
)
"""Looking for tensors that break a property takes long and keeps nothing, so it is left out."""
NOT_COMPARED = ("created", "run", "load_average", "seconds", "cached")


def torch_cases(folder: Path) -> None:
    """Twenty that are pruned, trained and quantized through torch."""
    (write_project(folder) / "cases.yaml").write_text(TORCH)


def onnx_cases(folder: Path) -> None:
    """Twenty that are quantized through ONNX Runtime; no export, which takes long, and no torch, which starts slowly."""
    cases = write_project(folder)
    (cases / "model.py").unlink()
    (cases / "net.onnx").write_bytes(as_onnx(load(trained())))
    steps = [DYNAMIC.format(weights=weights) for weights in ("int8", "uint8")]
    steps += [STATIC.format(calibration=method) for method in ("minmax", "percentile", "entropy")]
    (cases / "cases.yaml").write_text(ONNX + "".join(steps))


def start(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A run in `folder`, and the mark by which everything that it starts can be known."""
    mark = uuid.uuid4().hex
    environment = {**os.environ, "TORTURED": mark, "TMPDIR": str(folder / "tmp")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # other plugins take half of the time
    with (folder / "tmp" / "out").open("wb") as out:
        return subprocess.Popen(PYTEST, cwd=folder, env=environment, stdout=out, stderr=out), mark


def run(folder: Path) -> dict[str, Any]:
    """What an undisturbed run reports."""
    process, _ = start(folder)
    code = process.wait()
    assert code == 0, (folder / "tmp" / "out").read_text()
    (folder / "tmp" / "out").unlink()
    return told(report_of(folder))


def told(value: Any) -> Any:
    """A report without what may differ from run to run."""
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items() if key not in NOT_COMPARED}
    return [told(item) for item in value] if isinstance(value, list) else value


def _difference(expected: Any, found: Any) -> str:
    texts = (json.dumps(one, indent=1).splitlines() for one in (expected, found))
    return "\n".join(difflib.unified_diff(*texts, "expected", "found", lineterm="", n=2))


def left_behind(folder: Path) -> set[str]:
    """Every path under `folder` but those that may come and go: entries of the store, compiled code, drawn examples, and
    what a run keeps of the report before it.
    """
    passing = ("__pycache__", ".hypothesis", ".benchmarks")
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    return {
        path.as_posix()
        for path in paths
        if not set(passing) & set(path.parts)
        and path.parts[:2] != (".weighbridge", "store")
        and not path.name.startswith("previous.")
    }


def still_running(mark: str) -> list[str]:
    """What a run left running, once it had some seconds to end."""
    for _ in range(100):
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TORTURED") == mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        if not found:
            break
        time.sleep(0.1)
    return found


def kill_again_and_again(folder: Path, write: Callable[[Path], None], times: int, seed: int) -> None:
    """A run of what `write` writes, each time from nothing; asserts that the plain run after it is as if nothing had
    happened."""
    write(folder)
    (folder / "tmp").mkdir()
    began = time.monotonic()
    expected = run(folder)
    took, files = time.monotonic() - began, left_behind(folder)
    assert len(expected["rows"]) == CASES
    moments = random.Random(seed)
    for number in range(1, times + 1):
        shutil.rmtree(folder / ".weighbridge")
        if moments.random() < 0.5:
            shutil.rmtree(folder / "reports")
        process, mark = start(folder)
        moment = moments.uniform(0, took)
        time.sleep(moment)
        process.kill()
        process.wait()
        where = f"killed after {moment:.3f} s of {took:.1f} s, number {number} of seed {seed}"
        assert still_running(mark) == [], where
        found = run(folder)
        assert found == expected, f"{where}\n{_difference(expected, found)}"
        assert left_behind(folder) == files, where
