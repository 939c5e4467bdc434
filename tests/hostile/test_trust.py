"""Trust is the user's: by a file's name and SHA-256, in the case or the budget, and of no other file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import saved_models
import torch
import yaml
from tests.projects import MODEL, Weighed, weigh

import hostile
from weighbridge.case.load import load_cases
from weighbridge.cli.main import main
from weighbridge.contracts import FORMATS
from weighbridge.core.errors import CaseError, StageError
from weighbridge.core.results import Status
from weighbridge.core.trust import trusting
from weighbridge.formats.saved_model import check_saved_model

CASE = "model: {torch: model.py:net, weights: net.pt}\nthresholds: {size: 1 MB}\n"
PROGRAM = "model: {exported: net.pt2}\nthresholds: {size: 1 MB}\n"


class Runs:
    """A pickled tensor that leaves its mark when it is read."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return eval, (f"(exec({hostile.CODE!r}), __import__('torch').tensor({self.value.tolist()}))[1]",)


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(hostile.MARK, str(tmp_path / "ran"))
    return tmp_path / "ran"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    layers = [torch.nn.Linear(16, 96), torch.nn.ReLU(), torch.nn.Linear(96, 96), torch.nn.ReLU()]
    state = torch.nn.Sequential(*layers, torch.nn.Linear(96, 4)).state_dict()
    torch.save({name: Runs(value) for name, value in state.items()}, tmp_path / "net.pt")
    return tmp_path / "net.pt"


def line_of(found: Weighed) -> str:
    """What the refusal says to write."""
    (line,) = re.findall(r"`(trust: \{.*\})`", found.result.message)
    return str(line)


@pytest.mark.parametrize("case", [CASE, PROGRAM])
def test_the_line_of_the_refusal_lets_the_file_run(
    tmp_path: Path, mark: Path, checkpoint: Path, case: str
) -> None:
    hostile.PT2["samples_as_pickle"][0](tmp_path / "net.pt2")
    refused = weigh(tmp_path, case, also=())
    assert refused.result.status is Status.ERROR
    assert not mark.exists()
    trusted = weigh(tmp_path, case + line_of(refused), also=())
    assert mark.exists()
    assert "is not opened" not in trusted.result.message


def test_a_trusted_checkpoint_is_judged(tmp_path: Path, mark: Path, checkpoint: Path) -> None:
    line = line_of(weigh(tmp_path, CASE, also=()))
    assert weigh(tmp_path, CASE + line, also=()).result.status is Status.PASS


def test_another_file_of_that_name_is_not_trusted(tmp_path: Path, mark: Path, checkpoint: Path) -> None:
    line = line_of(weigh(tmp_path, CASE, also=()))
    torch.save({"0.weight": Runs(torch.ones(2))}, checkpoint)
    found = weigh(tmp_path, CASE + line, also=()).result
    assert "net.pt is not the file that the case trusts" in found.message
    assert not mark.exists()


def test_trust_in_one_case_is_none_in_the_next(tmp_path: Path, mark: Path, checkpoint: Path) -> None:
    line = line_of(weigh(tmp_path, CASE, also=()))
    weigh(tmp_path, CASE + line, also=())
    mark.unlink()
    assert weigh(tmp_path, CASE, also=()).result.status is Status.ERROR
    assert not mark.exists()


def test_a_program_stays_trusted_where_it_is_opened_again(tmp_path: Path) -> None:
    """A fresh process, which a speed is measured in, knows the artifact and not the case."""
    path = tmp_path / "net.pt2"
    hostile.text('"guards_code": []', '"guards_code": ["len(repr(1)) == 1"]')(path)
    exported = FORMATS.get("exported")
    with pytest.raises(StageError) as refused:
        exported.load(path.name, None, tmp_path)
    (digest,) = re.findall("[0-9a-f]{64}", str(refused.value))
    with trusting({"net.pt2": digest}):
        model = exported.load(path.name, None, tmp_path)
    from weighbridge.formats.finished import finished_file

    artifact = finished_file(model, path)
    assert artifact is not None
    assert exported.open(artifact).value.graph


def test_files_of_one_name_are_trusted_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of each SavedModel is called saved_model.pb; the lines of both refusals stand in one case."""
    monkeypatch.chdir(tmp_path)
    folders = [Path("one/net"), tmp_path / "two/net"]
    for folder, operator in zip(folders, ("ReadFile", "WriteFile"), strict=True):
        folder.mkdir(parents=True)
        saved_models.saved_model(nodes=(saved_models.node(operator),))(folder)

    def line(folder: Path) -> str:
        with pytest.raises(StageError) as refused:
            check_saved_model(folder)
        (found,) = re.findall(r"[`{]([^`{]*saved_model.pb: [0-9a-f]{64})[}`]", str(refused.value))
        return str(found)

    one, two = map(line, folders)
    trust = yaml.safe_load(f"{{{one}, {two}}}")
    assert list(trust) == ["one/net/saved_model.pb", "two/net/saved_model.pb"]
    with trusting(trust):
        for folder in folders:
            check_saved_model(folder)
    with trusting(yaml.safe_load(f"{{{one}}}")):
        assert line(folders[1]) == two


def test_the_line_of_a_refusal_is_yaml_whatever_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "a, b: 'c'" / "#1.pt2"
    path.parent.mkdir()
    hostile.text('"guards_code": []', '"guards_code": ["len(repr(1)) == 1"]')(path)
    load = FORMATS.get("exported").load
    with pytest.raises(StageError) as refused:
        load(path.name, None, path.parent)
    (line,) = re.findall(r"`trust: (\{.*\})`", str(refused.value))
    assert list(yaml.safe_load(line)) == ["a, b: 'c'/#1.pt2"]
    with trusting(yaml.safe_load(line)):
        load(path.name, None, path.parent)


def test_a_budget_trusts_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, budget, out = tmp_path / "net.pt2", tmp_path / "budget.yaml", tmp_path / "out"
    hostile.text('"guards_code": []', '"guards_code": ["len(repr(1)) == 1"]')(path)
    limits = "thresholds: {size: 1 MB}\n"
    budget.write_text(limits)
    command = ["audit", str(path), "--budget", str(budget), "--out", str(out)]
    assert main(command) == 2
    message = json.loads((out / "audit.json").read_text())["rows"][0]["message"]
    (line,) = re.findall(r"`(trust: \{.*\})`", message)
    budget.write_text(limits + line)
    assert main(command) == 0


@pytest.mark.parametrize("digest", ["yes", "F" * 64, "0" * 63])
def test_trust_is_a_sha256(tmp_path: Path, digest: str) -> None:
    (tmp_path / "case.yaml").write_text(f"{CASE}trust: {{net.pt: '{digest}'}}\n")
    with pytest.raises(CaseError, match=r"trust\.net\.pt"):
        load_cases(tmp_path / "case.yaml")
