"""The long form, `make torture`: its name keeps it out of every other run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.torture.harm import WAYS, harm
from tests.torture.killing import kill_again_and_again, onnx_cases, torch_cases

pytestmark = pytest.mark.worker
KILLS, PARTS = 300, 10


@pytest.mark.parametrize("part", range(PARTS))
def test_a_run_killed_at_any_moment_goes_on_as_if_nothing_had_happened(tmp_path: Path, part: int) -> None:
    kill_again_and_again(tmp_path, torch_cases if part % 5 == 0 else onnx_cases, KILLS // PARTS, seed=part)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB, where it may be mounted; a full device stands in for it elsewhere."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    yield tmp_path
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_ten_of_fifty_cases_do_harm(small_disk: Path) -> None:
    harm(small_disk, 40, list(WAYS))
