"""Every fault of a file in one go, each at its line and column. A bad file stands beside the text it must give."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.case.faults import faults_of

from weighbridge.case.load import load_cases
from weighbridge.core.errors import CaseError

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad").glob("*.yaml"))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_gives_exactly_its_faults(path: Path) -> None:
    assert faults_of(path) == path.with_suffix(".txt").read_text(encoding="utf-8")


def test_no_expected_text_is_left_without_its_file() -> None:
    assert [path.stem for path in BAD] == sorted(path.stem for path in (HERE / "bad").glob("*.txt"))


def test_a_fault_lists_the_valid_names() -> None:
    with pytest.raises(CaseError, match=r"\(valid: [^)]*accuracy_drop, [^)]*size_ratio"):
        load_cases(HERE / "bad" / "misspelt_everywhere.yaml")


def test_a_fault_names_the_file_as_an_editor_can_open_it() -> None:
    path = HERE / "bad" / "unknown_metric.yaml"
    with pytest.raises(CaseError) as caught:
        load_cases(path)
    assert str(caught.value).startswith(f"{path}:3:9: unknown metric 'acuracy'")


def test_a_folder_is_no_case_file(tmp_path: Path) -> None:
    assert faults_of(tmp_path) == "1:1: cannot be read: it is a folder, a pipe or a device, not a file\n"


def test_an_absent_file(tmp_path: Path) -> None:
    assert faults_of(tmp_path / "none.yaml") == "1:1: cannot be read: No such file or directory\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    path.write_text("model: {onnx: m.onnx}")
    path.chmod(0)
    assert faults_of(path) == "1:1: cannot be read: Permission denied\n"


def test_loading_runs_none_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "case.yaml"
    path.write_text(f"model: !!python/object/apply:os.mkdir ['{tmp_path / 'ran'}']\nthresholds: {{size: 1}}")
    assert "!!python/object/apply:os.mkdir is not supported" in faults_of(path)
    assert not (tmp_path / "ran").exists()
