"""What a stranger's text does to the terminal, the CI log and the report: it is shown, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.projects import CASE, report_of

from weighbridge.core.references import call

RAISING = """
def loud():
    raise RuntimeError("x\\n::error file=a.py::pwned\\x1b[31m \\ud800 ##[group]")


def long():
    raise RuntimeError("y" * 50_000_000)
"""


@pytest.mark.slow
def test_a_message_is_no_command_and_no_flood(
    project: Callable[..., Path], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    folder = project(
        **{name: CASE.replace("model.py:net", f"raising.py:{name}") for name in ("loud", "long")}
    )
    (folder / "raising.py").write_text(RAISING)
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--report=html,github", "cases")
    text = done.stdout.str() + done.stderr.str()
    assert len(text) < 300_000
    assert "\x1b" not in text
    commands = [line for line in text.splitlines() if line.startswith("::")]
    assert commands
    assert not [line for line in commands if not line.startswith("::error file=cases/")]
    assert [row["status"] for row in report_of(pytester.path)["rows"]] == ["error", "error"]
    assert all(path.stat().st_size < 1_000_000 for path in (pytester.path / "reports").iterdir())


def test_code_in_a_folder_of_another_encoding_is_run(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"lat\xe9in")
    folder.mkdir()
    (folder / "model.py").write_text("def net():\n    return 5\n")
    assert call("model.py:net", folder) == 5


def test_a_folder_of_another_encoding_loses_no_report(
    project: Callable[..., Path], pytester: pytest.Pytester
) -> None:
    folder = project(a="model: {onnx: none.onnx}\nthresholds: {size: 1 MB}\n")
    folder = folder.rename(folder.with_name(os.fsdecode(b"lat\xe9in")))
    options = ["-p", "no:cacheprovider", "--report=html,junit,csv,markdown"]
    subprocess.run([sys.executable, "-m", "pytest", *options, str(folder / "a.yaml")], capture_output=True)
    (row,) = report_of(pytester.path)["rows"]
    assert row["status"] == "error"
    assert len(list((pytester.path / "reports").iterdir())) == 5
