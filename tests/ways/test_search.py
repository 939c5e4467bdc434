"""`weighbridge search`: trials that are cases, and a winner that was judged on what it was not chosen on."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.projects import samples, statuses, write_project
from tests.ways.made import in_folder
from tests.ways.optunas import trials_of_optuna

from weighbridge.case.load import load_cases
from weighbridge.cli.main import main
from weighbridge.core.results import CaseResult, Status, Verdict
from weighbridge.propose import search as searching
from weighbridge.propose.study import FILE

pytest.importorskip("optuna", reason="pip install 'weighbridge[search]'")

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ONNX file, its samples with 300 for calibration, and no recipe."""
    in_folder(pytester.path, monkeypatch)
    with_samples()
    return pytester.path


def with_samples(**more: Any) -> None:
    (x, y), (calibration_x, calibration_y) = samples(2, 400), samples(3, 300)
    given = {"test_x": x, "test_y": y, "calibration_x": calibration_x, "calibration_y": calibration_y}
    given |= more
    np.savez("samples.npz", **{name: array for name, array in given.items() if array is not None})


def case(thresholds: str, more: str = "") -> None:
    Path("net.yaml").write_text(
        f"model: {{onnx: model.onnx}}\ndata: samples.npz\n{more}thresholds: {{{thresholds}}}\n"
    )


@pytest.fixture
def search(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str, trials: int = 3, name: str = "net.yaml") -> tuple[int, str]:
        status = main(["search", name, "--executor", "inline", "--trials", str(trials), *words])
        told = capsys.readouterr()
        return status, told.out + told.err

    return run


def trial_lines(said: str) -> list[str]:
    return [line for line in said.splitlines() if re.match(r"\d+-", line)]


@pytest.mark.slow
def test_the_smallest_that_holds_is_a_case_that_passes(
    folder: Path, search: Run, pytester: pytest.Pytester
) -> None:
    """No standard recipe is so small; one that the search composes is."""
    case("accuracy_drop: 0.02, size_ratio: 3.1")
    status, said = search("-o", "gates/best.yaml", trials=30)
    assert status == 0, said
    assert re.search("holds on the test split.*: accuracy_drop", said)
    standard = [line for line in trial_lines(said) if re.match(r"\d-(static|auto|dynamic) ", line)]
    assert len(standard) == 3
    assert all("size_ratio" in line for line in standard)
    (best,) = load_cases(Path("gates/best.yaml"))
    (stated,) = load_cases(Path("net.yaml"), recipe_to_come=True)
    assert [(ref.name, ref.limit) for ref in best.thresholds] == [
        (ref.name, ref.limit) for ref in stated.thresholds
    ]
    pytester.runpytest_inprocess("gates/best.yaml", "--bench")
    assert set(statuses(folder).values()) == {"pass"}


def test_where_nothing_holds_it_says_what_is_out_of_reach(folder: Path, search: Run) -> None:
    case("accuracy_drop: 0.02, size_ratio: 20")
    status, said = search("-o", "best.yaml")
    assert status == 1
    found = re.search(r"out of reach of all 3 trials .*: size_ratio 2.94x, needs 20x \(2-dynamic\)", said)
    assert found, said
    assert "accuracy_drop" not in said.split("out of reach")[1]
    assert "the nearest miss: 2-dynamic" in said
    assert "best.yaml was not written" in said
    assert not Path("best.yaml").exists()


@pytest.mark.slow
def test_a_later_call_goes_on(folder: Path, search: Run) -> None:
    case("accuracy_drop: 0.02, size_ratio: 2")
    status, said = search(trials=2)
    assert (status, len(trial_lines(said.split("front")[0]))) == (0, 2)
    status, said = search(trials=3)
    assert status == 0
    assert "goes on after 2 trials of earlier calls" in said
    assert "5 trials, 3 of them now" in said
    names = [line.split()[0] for line in trial_lines(said.split("front")[0])]
    assert names[:3] == ["0-static", "1-auto", "2-dynamic"]
    assert len({name.partition("-")[2] for name in names}) == 5, "nothing is tried twice"


@pytest.mark.slow
def test_it_ends_where_everything_was_tried(
    folder: Path, search: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without calibration samples there is one method, of two granularities and two types, sparing a layer or none."""
    monkeypatch.setattr("weighbridge.propose.space.KINDS", ("quantize",))
    with_samples(calibration_x=None, calibration_y=None)
    case("accuracy_drop: 0.02, size_ratio: 2")
    status, said = search(trials=99)
    assert status == 0
    assert "nothing else was found to try" in said
    names = [line.split()[0].partition("-")[2] for line in trial_lines(said.split("front")[0])]
    assert len(names) == len(set(names)) == 8
    assert "8 trials, 0 of them now" in search(trials=99)[1]


@pytest.mark.slow
def test_other_limits_are_another_search(folder: Path, search: Run) -> None:
    case("size_ratio: 2")
    search(trials=1)
    case("size_ratio: 2.5")
    assert "goes on" not in search(trials=1)[1]
    case("size_ratio: 2")
    assert "goes on after 1 trials" in search(trials=1)[1]


OWN = (
    "import numpy as np\n\n\ndef right(outputs, targets):\n    return {}\n\n\nright.higher_is_better = True\n"
)


@pytest.mark.slow
def test_another_metric_under_the_same_name_is_another_search(folder: Path, search: Run) -> None:
    """What trials had under a metric that was wrong keeps no recipe out, and brings none in, once it is mended."""
    Path("metric.py").write_text(OWN.format("(outputs.argmax(1) == targets) & (targets < 2)"))
    case("accuracy: 0.8, size_ratio: 2", "metric: metric.py:right\n")
    assert search()[0] == 1
    Path("metric.py").write_text(OWN.format("outputs.argmax(1) == targets"))
    sys.modules.pop(next(name for name in sys.modules if re.fullmatch("_weighbridge_.*_metric", name)))
    status, said = search()
    assert "goes on" not in said
    assert status == 0


@pytest.mark.slow
def test_the_winner_is_as_sure_as_pytest_will_ask(folder: Path, search: Run) -> None:
    """`weighbridge_confidence` of the project is of every gate in it."""
    case("accuracy_drop: 0.004, size_ratio: 2")
    assert search(trials=2)[0] == 0
    Path("pytest.ini").write_text("[pytest]\nweighbridge_confidence = 0.999\n")
    status, said = search(trials=2)
    assert "goes on" not in said
    assert "is not sure to hold on the test split" in said
    assert status == 1
    Path("pytest.ini").write_text("[pytest]\nweighbridge_confidence = much\n")
    status, said = search(trials=1)
    assert status == 2
    assert "weighbridge_confidence is a number such as 0.95, not 'much'" in said


@pytest.mark.slow
def test_ctrl_c_ends_with_the_best_so_far(folder: Path, search: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    case("accuracy_drop: 0.02, size_ratio: 2")
    carry_out, seen = searching.carry_out_one, []

    def interrupted(case: Any, *rest: Any) -> CaseResult:
        seen.append(case.name)
        if case.name == "2-dynamic":
            raise KeyboardInterrupt
        return carry_out(case, *rest)

    monkeypatch.setattr(searching, "carry_out_one", interrupted)
    status, said = search("-o", "best.yaml", trials=9)
    assert status == 0
    assert "2 trials" in said
    assert "Ctrl-C ended it" in said
    assert Path("best.yaml").exists()
    monkeypatch.setattr(searching, "carry_out_one", carry_out)
    _, said = search(trials=10)
    assert any(line.split()[0].endswith("-dynamic") for line in trial_lines(said)), "it is tried again"


@pytest.mark.slow
def test_what_the_budget_cut_short_is_no_error(
    folder: Path, search: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    case("accuracy_drop: 0.02, size_ratio: 2")
    carry_out = searching.carry_out_one

    def late(case: Any, *rest: Any) -> CaseResult:
        time.sleep(0.3)
        return CaseResult(
            case.name, case.name, "net.yaml", 1, Status.ERROR, "quantize", "took more than 0.2 s"
        )

    monkeypatch.setattr(searching, "carry_out_one", late)
    status, said = search("--budget", "0.2s")
    assert status == 1
    assert "0 trials, in " in said
    assert "there was no time for a trial" in said
    monkeypatch.setattr(searching, "carry_out_one", carry_out)
    status, said = search(trials=11)
    assert status == 0
    names = [line.split()[0].partition("-")[2] for line in trial_lines(said.split("front")[0])]
    assert names[:2] == ["auto", "dynamic"]
    assert "static" in names, "it is tried again"


@pytest.mark.slow
def test_a_killed_search_goes_on(folder: Path, search: Run) -> None:
    """Whatever it was at: the study is a database, and each trial a transaction of it."""
    case("accuracy_drop: 0.02, size_ratio: 2")
    running = subprocess.Popen([sys.executable, "-m", "weighbridge", "search", "net.yaml"])
    deadline = time.monotonic() + 120
    while not list(Path(".weighbridge").glob("search/*/*/2-*.yaml")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.kill()
    running.wait()
    status, said = search(trials=10)
    assert status == 0
    assert re.search("goes on after [23] trials of earlier calls", said)
    names = [line.split()[0].partition("-")[2] for line in trial_lines(said.split("front")[0])]
    assert names[:2] == ["static", "auto"]
    assert "dynamic" in names


@pytest.mark.slow
def test_of_what_is_tried_first_something_is_learned(folder: Path, search: Run) -> None:
    case("accuracy_drop: 0.02, size_ratio: 2")
    search(trials=3)
    (file,) = Path(".weighbridge").rglob(FILE)
    first = trials_of_optuna(file.parent)
    assert [trial.params["quantize"] for trial in first] == [
        "quantize:static@onnxruntime",
        "quantize:auto@onnxruntime",
        "quantize:dynamic@onnxruntime",
    ]
    assert first[0].params["quantize:static@onnxruntime.calibration"] == "mse"


def test_without_optuna_it_says_what_to_install(
    folder: Path, search: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    case("size_ratio: 2")
    monkeypatch.setattr("weighbridge.environment.requirements._package", lambda name: name != "optuna")
    status, said = search()
    assert status == 2
    assert "pip install 'weighbridge[search]'" in said
    assert not Path(".weighbridge").exists(), "before anything is carried out"


@pytest.mark.slow
def test_the_verdict_is_of_samples_that_nothing_was_chosen_on(folder: Path, search: Run) -> None:
    """The test split's answers are not those of calibration: what holds there does not hold here."""
    _, y = samples(2, 400)
    with_samples(test_y=np.where(np.arange(400) % 3 == 0, y, (y + 1) % 4))
    case("accuracy: 0.9, size_ratio: 2")
    status, said = search("-o", "best.yaml")
    assert status == 1
    assert "3 meet the limits" in said
    assert "chosen on 300 samples of the split 'calibration'" in said
    looks = re.findall(r"(\S+) does not hold on the test split: accuracy", said)
    assert looks[0] == "2-dynamic", (
        "the smallest first; another only where it was more accurate on calibration"
    )
    assert not {"0-static", "1-auto"} <= {*looks}, "both made the same file"
    assert f"none of the {len(looks)} that were looked at holds on the test split" in said
    assert not Path("best.yaml").exists()


def test_samples_for_validation_go_first(folder: Path, search: Run) -> None:
    x, y = samples(5, 90)
    with_samples(validation_x=x, validation_y=y)
    case("accuracy_drop: 0.05")
    assert "chosen on 90 samples of the split 'validation'" in search(trials=1)[1]


def test_where_there_are_no_other_samples_it_is_said(folder: Path, search: Run) -> None:
    with_samples(calibration_y=None)
    case("accuracy_drop: 0.05")
    status, said = search(trials=1)
    assert status == 0
    assert "chosen on the test split itself, since the data has no split 'validation' and" in said
    assert "the split 'calibration' has no targets" in said
    assert "holds on the test split, on which it was chosen" in said


@pytest.mark.slow
def test_what_is_trained_on_does_not_choose(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, search: Run
) -> None:
    """A torch module may be trained after pruning; half of its calibration split stands in the training split."""
    pytest.importorskip("torch_pruning", reason="pip install 'weighbridge[pruning]'")
    monkeypatch.chdir(write_project(pytester.path))
    with np.load("data.npz") as file:
        arrays = dict(file)
    shared = {
        f"calibration_{key}": np.concatenate([arrays[f"train_{key}"][:100], part])
        for key, part in zip("xy", samples(7, 100), strict=True)
    }
    np.savez("samples.npz", **arrays, **shared)
    Path("net.yaml").write_text(
        "model: {torch: model.py:net, weights: net.safetensors}\ndata: samples.npz\n"
        "thresholds: {accuracy_drop: 0.05, size_ratio: 4}\n"
    )
    status, said = search("-o", "best.yaml", trials=11)
    assert "100 samples of the split 'calibration' are trained on" in said
    assert status == 0, said
    (best,) = load_cases(Path("best.yaml"))
    assert [ref.kind for ref in best.recipe] == ["prune", "finetune", "quantize"], "no other is so small"


@pytest.mark.slow
def test_what_is_hopeless_is_ended_on_a_few_samples(folder: Path, search: Run) -> None:
    """A limit that no other samples would meet: of the first of a kind the whole split is read, since its layers are ranked."""
    case("accuracy: 0.999, size_ratio: 2", "allow_chance: true\n")
    _, y = samples(3, 300)
    with_samples(calibration_y=(y + (np.arange(300) % 2)) % 4)
    status, said = search(trials=5)
    assert status == 1
    early = [line for line in trial_lines(said) if "ended early, on 64 samples: accuracy" in line]
    assert early, said
    assert f"{len(early)} were ended early on 64 samples" in said


@pytest.mark.parametrize(
    ("measured", "interval", "ended"),
    [(0.2, (0.1, 0.3), True), (0.02, (-0.05, 0.08), False), (0.2, None, False)],
)
def test_what_other_samples_might_meet_goes_on(
    measured: float, interval: tuple[float, float] | None, ended: bool
) -> None:
    verdict = Verdict(
        "accuracy_drop",
        Status.FAIL,
        {"max": 0.01},
        measured,
        interval,
        margin=0.01 - measured,
        unit="points",
    )
    assert searching.hopeless(verdict) is ended
    assert not searching.hopeless(replace(verdict, status=Status.PASS))
    counted = replace(verdict, threshold="size_ratio", limit={"min": 2}, measured=1.9, margin=-0.1)
    assert searching.hopeless(counted), "a file is as large on any samples"
    noise = replace(verdict, threshold="fidelity", limit={"min": 20}, interval=None, margin=-3.0, unit="dB")
    assert not searching.hopeless(noise)
    assert searching.hopeless(replace(noise, margin=-9.0))


@pytest.mark.slow
def test_two_goals_are_weighed_together(folder: Path, search: Run) -> None:
    case("accuracy_drop: 0.02, speedup: {min: 0.01, budget: 20}")
    status, said = search("--minimize", "latency", "--minimize", "size", "-o", "best.yaml", trials=2)
    assert status in (0, 1), said
    assert all(re.search(r"\d+ (k?)B .*x .*x ", line) for line in trial_lines(said)), "both are measured"
    if status == 0:
        assert "--minimize latency --minimize size" in Path("best.yaml").read_text()


CRASHING = """
import os
from typing import ClassVar

from weighbridge.contracts import STEPS, Options, Step


class CrashOptions(Options):
    tunes: ClassVar = {"hard": (True, False)}
    hard: bool = True


def crash(model, options, context):
    os._exit(3)


STEPS.add("quantize:crash", Step("quantize", "crash", ("onnx",), CrashOptions, crash, must="quantize"))
"""


@pytest.mark.slow
def test_a_crash_is_of_its_trial_only(folder: Path) -> None:
    Path("conftest.py").write_text(CRASHING)
    case("accuracy_drop: 0.02, size_ratio: 2")
    recipe = "recipe: [{quantize: crash}]\n"
    Path("net.yaml").write_text(Path("net.yaml").read_text() + recipe)
    words = [sys.executable, "-m", "weighbridge", "search", "net.yaml", "--trials", "2", "-o", "best.yaml"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = trial_lines(done.stdout.split("front")[0])
    assert first.startswith("0-crash")
    assert "quantize" in first
    assert second.startswith("1-static")
    assert "1 could not be carried out" in done.stdout
    assert "quantize: static" in Path("best.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--budget", "soon"], "--budget: 'soon' is not a quantity in s"),
        (["--budget", "0s"], "above zero"),
        (["-o", "net.yaml"], "net.yaml: the file is there already"),
    ],
)
def test_wrong_use_is_told_before_anything_runs(
    folder: Path, search: Run, words: list[str], why: str
) -> None:
    case("size_ratio: 2")
    status, said = search(*words)
    assert status == 2
    assert why in said
    assert not Path(".weighbridge").exists()


def test_an_original_that_cannot_be_run_is_no_trial(folder: Path, search: Run) -> None:
    case("size_ratio: 2")
    Path("model.onnx").write_bytes(b"no model")
    status, said = search()
    assert status == 2
    assert "the original cannot be weighed: " in said
