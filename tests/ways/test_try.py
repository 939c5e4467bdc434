"""`weighbridge try`: the standard recipes without a case file, and the best of them as one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tests.projects import report_of, statuses, write_project
from tests.ways.made import in_folder, wide

from weighbridge.case.load import load_cases
from weighbridge.case.scaffold import Subject
from weighbridge.cli.main import main
from weighbridge.contracts import FORMATS
from weighbridge.propose.front import weigh
from weighbridge.propose.trials import step_name, try_recipes
from weighbridge.run.job import RunOptions


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    return in_folder(pytester.path, monkeypatch)


def test_it_prints_the_table_the_front_and_what_to_take(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["try", "model.onnx", "--data", "samples.npz"]) == 0
    out = capsys.readouterr().out
    assert "3 cases: " in out
    for name in ("static", "auto", "dynamic"):
        assert f"  {name} " in out
    assert "front " in out
    assert "recommended: " in out
    assert "times smaller" in out


def test_the_best_becomes_a_case_that_passes(
    project: Path, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["try", "model.onnx", "--data", "samples.npz", "-o", "gates/mine/best.yaml"]) == 0
    capsys.readouterr()
    (case,) = load_cases(Path("gates/mine/best.yaml"))
    assert case.model.reference == "../../model.onnx"
    pytester.runpytest_inprocess("gates/mine/best.yaml").assert_outcomes(passed=4)


def test_an_existing_case_is_not_written_over(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text("# mine\n")
    assert main(["try", "model.onnx", "-o", "mine.yaml"]) == 2
    assert "mine.yaml: the file is there already" in capsys.readouterr().err
    assert not Path(".weighbridge").exists()


def test_what_was_tried_is_a_case_file_that_pytest_runs_again(
    project: Path, pytester: pytest.Pytester
) -> None:
    """The table's own commands name it."""
    assert main(["try", "model.onnx", "--data", "samples.npz"]) == 0
    result = pytester.runpytest_inprocess(".weighbridge/try/model/gate.yaml::dynamic")
    result.assert_outcomes(passed=3)
    (row,) = report_of(project)["rows"]
    assert all(step["cached"] for step in row["steps"]), "by the same store"


def test_no_layers_are_sought_while_trying(project: Path) -> None:
    """They take a minute a recipe; the command that the table names seeks them."""
    wide(Path("model.onnx"), hidden=256)
    x = np.random.default_rng(1).standard_normal((2000, 16)).astype("float32")
    (outputs,) = onnxruntime.InferenceSession("model.onnx").run(None, {"x": x})
    np.savez("samples.npz", x=x, y=np.argmax(outputs, axis=1))
    assert main(["try", "model.onnx", "--data", "samples.npz", "--max-drop", "1e-6", "--report", "json"]) == 1
    rows = json.loads(Path("reports/try.json").read_text())["rows"]
    assert {row["status"] for row in rows} == {"fail"}, [row["error"] or row["verdicts"] for row in rows]
    assert all(row["layer_errors"] is None for row in rows)


def test_a_report_of_the_trials(project: Path) -> None:
    assert main(["try", "model.onnx", "--report", "csv,json", "--out", "found"]) == 0
    assert {path.name for path in Path("found").iterdir()} == {"try.csv", "try.json"}


def test_a_torch_module_with_its_checkpoint(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_project(pytester.path)
    monkeypatch.chdir(folder)
    arguments = ["--weights", "net.safetensors", "--data", "model.py:splits", "-o", "gates/best.yaml"]
    assert main(["try", "model.py:net", *arguments]) == 0
    (case,) = load_cases(Path("gates/best.yaml"))
    assert (case.model.reference, case.model.weights) == ("../model.py:net", "../net.safetensors")
    assert case.data == "../model.py:splits"
    pytester.runpytest_inprocess("gates/best.yaml")
    assert set(statuses(folder).values()) == {"pass"}


def test_a_tflite_file(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ai_edge_quantizer")
    torch = pytest.importorskip("torch")
    converter = pytest.importorskip("litert_torch")
    net = torch.nn.Sequential(torch.nn.Linear(16, 256), torch.nn.ReLU(), torch.nn.Linear(256, 4)).eval()
    in_folder(pytester.path, monkeypatch)
    converter.convert(net, (torch.zeros(1, 16),)).export("net.tflite")
    assert main(["try", "net.tflite", "-o", "net.yaml"]) == 0
    pytester.runpytest_inprocess("net.yaml")
    assert set(statuses(pytester.path).values()) == {"pass"}


@pytest.mark.parametrize("data", [True, False])
@pytest.mark.parametrize("name", FORMATS.names())
def test_the_recipes_of_a_format_have_names_of_their_own(name: str, data: bool) -> None:

    recipes = FORMATS.get(name).recipes(data)
    assert len({step_name(recipe) for recipe in recipes}) == len(recipes)


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_recipes_that_make_the_same_file_count_once() -> None:
    """Where nothing is lost, `auto` is `static`, and the plainer of two recipes is the one to take."""
    subject = Subject("model.onnx", data="samples.npz")
    trials = try_recipes(
        subject, Path("tried"), 0.1, RunOptions(Path(), Path("store")), lambda text: None, "inline"
    )
    assert [trial.result.name for trial in trials] == ["static", "auto", "dynamic"]
    assert [one.trial.result.name for one in weigh(trials)] == ["static", "dynamic"]
