"""`weighbridge try`: the standard recipes without a case file, and the best of them as one."""

from __future__ import annotations

import json
from dataclasses import replace
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
from weighbridge.core.results import CaseResult, Measurement, Status, Verdict
from weighbridge.propose.budgets import budgets
from weighbridge.propose.front import front, recommended, show_front, weigh, why_nothing_holds
from weighbridge.propose.trials import Trial, step_name, try_recipes
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


def trial(name: str, size: float, speed: float | None, lost: float, **changed: Status) -> Trial:
    """A trial of a model of 1,000 bytes, with 100 dB less ten times what it lost of accuracy in points."""
    measurements = {
        "size": Measurement("size", "bytes", size, 1000.0),
        "fidelity": Measurement("fidelity", "dB", 40 - 1000 * lost),
        "accuracy": Measurement("accuracy", "fraction", 0.9 - lost, 0.9, {"n": 1000}),
    }
    if speed is not None:
        details = {"ratio": speed, "interval": [speed - 0.02, speed + 0.02]}
        measurements["speed"] = Measurement("speed", "ms", 1 / speed, 1.0, details)
    drop = Status.PASS if lost <= 0.01 else Status.FAIL
    verdicts = (
        Verdict("accuracy_drop", drop, measured=lost, unit="points"),
        Verdict("round_trip", changed.get("round_trip", Status.PASS)),
    )
    result = CaseResult(name, name, "gate.yaml", 1, Status.PASS, measurements=measurements, verdicts=verdicts)
    return Trial(((f"quantize: {name}",),), result)


def names(weighed: object) -> list[str]:
    return [one.trial.result.name for one in weighed]  # type: ignore[attr-defined]


def test_the_front_is_what_nothing_beats() -> None:
    found = weigh(
        [
            trial("ruined", 100, 3.0, 0.5),
            trial("small", 200, 0.5, 0.0),
            trial("fast", 300, 2.0, 0.0),
            trial("beaten", 310, 1.9, 0.001),
            trial("exact", 400, 1.0, -0.001),
        ]
    )
    assert names(front(found)) == ["ruined", "small", "fast", "exact"]
    best = recommended(found)
    assert best is not None
    assert best.trial.result.name == "fast"
    shown = show_front(found)
    assert "smallest" in shown.splitlines()[1]
    assert "fastest, recommended" in shown.splitlines()[2]
    assert "ruined" not in shown
    assert show_front(found[:1]).splitlines()[1].endswith("loses more than it may")


def test_between_gains_that_noise_moves_what_loses_less_is_taken() -> None:
    best = recommended(weigh([trial("one", 250, 2.02, 0.009), trial("other", 250, 2.0, 0.001)]))
    assert best is not None
    assert best.trial.result.name == "other"


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (trial("lossy", 250, 3.0, 0.4), "every standard recipe loses more than it may; the best, lossy"),
        (
            trial("slow", 250, 0.2, 0.0),
            "smaller without making it slower; the best, slow: 4 times smaller, 5 times slower",
        ),
        (trial("half", 200, 0.5, 0.0), "slower; the best, half: 5 times smaller, 2 times slower"),
        (
            trial("large", 1100, 1.5, 0.0),
            "the best, large: 1.1 times larger, 1.5 times faster, 0 points lost",
        ),
        (trial("other", 250, 3.0, 0.0, round_trip=Status.FAIL), "makes of this model what it was asked for"),
    ],
)
def test_what_does_not_help_is_not_recommended(one: Trial, why: str) -> None:
    found = weigh([one])
    assert recommended(found) is None
    assert why in why_nothing_holds(found)


def test_limits_leave_a_margin_and_none_is_set_where_there_is_none() -> None:
    def limits(one: Trial) -> dict[str, str]:
        return {budget.name: budget.limit for budget in budgets(one.result)}

    assert limits(trial("good", 250, 2.0, 0.002)) == {
        "accuracy_drop": "0.012",
        "fidelity": "35",
        "size_ratio": "3.8",
        "speedup": "1.6",
    }
    assert limits(trial("barely", 900, 1.15, 0.0)) == {
        "accuracy_drop": "0.01",
        "fidelity": "37",
        "size_ratio": "1.05",
        "speedup": "1",
    }
    assert limits(trial("bad", 1000, 0.9, 0.05)) == {
        "accuracy_drop": "0.06",
        "fidelity": "",
        "size": "1050",
        "speedup": "",
    }
    few = trial("few", 250, None, 0.0)
    accuracy = replace(few.result.measurements["accuracy"], details={"n": 50})
    result = replace(few.result, measurements={**few.result.measurements, "accuracy": accuracy})
    assert limits(replace(few, result=result))["accuracy_drop"] == "0.04", "two of fifty samples"


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
