"""Output that cannot hold every sign, as a Windows console's or a log's in latin-1, still has its tables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load
from tests.projects import as_onnx, trained

from weighbridge.report.encoding import fitting

CASE = "model: {onnx: net.onnx}\nthresholds: {size: 1 MB, parameters: {max: 1}}\n"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "✓ 95→94 ±1 µs … λ"),
        ("ascii", "v 95->94 +-1 us ... \\u03bb"),
        ("cp1252", "v 95->94 ±1 µs … \\u03bb"),
        ("latin-1", "v 95->94 ±1 µs ... \\u03bb"),
        (None, "✓ 95→94 ±1 µs … λ"),
    ],
)
def test_what_is_lacking_is_nearest(encoding: str | None, shown: str) -> None:
    assert fitting("✓ 95→94 ±1 µs … λ", encoding) == shown


@pytest.mark.worker
@pytest.mark.parametrize("command", [["pytest", "-q", "cases"], ["weighbridge", "run", "cases"]])
def test_a_table_keeps_its_lines(command: list[str], tmp_path: Path) -> None:
    """pytest by itself writes all of it on one line of escapes, and `print` raises."""
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "net.onnx").write_bytes(as_onnx(load(trained())))
    (tmp_path / "cases" / "net.yaml").write_text(CASE)
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    lines = done.stdout.decode("ascii").splitlines()
    assert done.returncode == 1, done.stderr.decode()
    assert any(line.startswith("x  net") for line in lines), lines
    assert not any("\\n" in line for line in lines)
