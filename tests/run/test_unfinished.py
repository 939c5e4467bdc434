"""What a killed process was writing is removed by the next that writes there; what is another's is left alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import psutil

from weighbridge.contracts import REPORTS
from weighbridge.core.results import Artifact
from weighbridge.core.unfinished import clear_abandoned, unfinished
from weighbridge.core.versions import version_of
from weighbridge.run.artifacts import _lay_out

DEAD = 999999999


def left_by_the_dead(folder: Path, prefix: str) -> Path:
    return folder / f"{prefix}{DEAD}@{socket.gethostname()}@1"


def test_only_what_is_abandoned_is_removed(tmp_path: Path) -> None:
    dead = left_by_the_dead(tmp_path, ".a.json.")
    dead.write_text("{")
    kept = [
        unfinished(tmp_path, ".a.json."),
        tmp_path / f".a.json.{DEAD}@another-host@1",
        tmp_path / f".b.json.{DEAD}@{socket.gethostname()}@1",
        tmp_path / ".a.json.notes@home",
    ]
    for path in kept:
        path.mkdir()
    assert kept[0].name.startswith(f".a.json.{os.getpid()}@")
    clear_abandoned(tmp_path, ".a.json.")
    assert set(tmp_path.iterdir()) == set(kept)


def test_a_process_that_nobody_asked_for_its_end_is_gone(tmp_path: Path) -> None:
    """It stays in the table of processes until somebody does, and in many containers nobody does."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    left = tmp_path / f".a.{child.pid}@{socket.gethostname()}@1"
    left.mkdir()
    clear_abandoned(tmp_path, ".a.")
    child.wait()
    assert not left.exists()


def test_a_report_and_an_artifact_clear_up_where_they_are_written(tmp_path: Path) -> None:
    reports, artifacts, store = (tmp_path / name for name in ("reports", "artifacts", "store"))
    for folder in (reports, artifacts, store):
        folder.mkdir()
    left_by_the_dead(reports, ".latest.json.").write_text("{")
    left_by_the_dead(artifacts, ".candidate.").mkdir()
    REPORTS.get("json").write({"rows": []}, reports)
    (store / "model.onnx").write_bytes(b"model")
    artifact = Artifact("onnx", store / "model.onnx", (store / "model.onnx",))
    _lay_out(artifact, artifacts / "candidate")
    assert [path.name for path in reports.iterdir()] == ["latest.json"]
    assert [path.name for path in artifacts.iterdir()] == ["candidate"]


def test_the_version_of_a_package_that_is_called_otherwise() -> None:
    assert version_of("sklearn") == metadata.version("scikit-learn")
    assert version_of("yaml") == metadata.version("pyyaml")
    assert version_of("no_such_package") == ""
