"""No case file hangs, crashes or passes unseen: each fault is told at its line, and the right ones are none."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from settings import LOOK_ALIKES, SETTINGS

from weighbridge.case.load import load_cases
from weighbridge.cli.main import main
from weighbridge.core.data import Data
from weighbridge.core.errors import CaseError, StageError


@pytest.mark.parametrize("name", SETTINGS)
def test_a_hostile_case_file_gets_its_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    content, sentence = SETTINGS[name]
    path = tmp_path / "case.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["check", str(path)]) == 1
    said = capsys.readouterr().err
    assert re.search(sentence, said.replace("\n", " "))
    assert len(said) < 20_000
    assert "\x1b" not in said
    assert not [line for line in said.splitlines() if line.startswith("::")]


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_right_one_is_no_fault(tmp_path: Path, name: str) -> None:
    (tmp_path / "case.yaml").write_text(LOOK_ALIKES[name])
    assert load_cases(tmp_path / "case.yaml")


@pytest.mark.parametrize("target", ["/dev/zero", "pipe", "folder"])
def test_what_is_no_file_is_no_case_file(tmp_path: Path, target: str) -> None:
    path = tmp_path / "case.yaml"
    if target == "pipe":
        os.mkfifo(path)
    elif target == "folder":
        path.mkdir()
    else:
        path.symlink_to(target)
    with pytest.raises(CaseError, match="a folder, a pipe or a device"):
        load_cases(path)


@pytest.mark.parametrize(("shapes", "batch"), [({"x": (4,)}, 10**12), ({"x": (10**8, 10**8)}, 1)])
def test_a_batch_that_no_memory_holds_is_refused(shapes: dict[str, tuple[int, ...]], batch: int) -> None:
    with pytest.raises(StageError, match=r"more than the 4\.29 GB that one batch may take"):
        Data(shapes=shapes).sample(batch)
