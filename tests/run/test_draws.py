"""`repeat`: other seeds, the worst judged, the first shipped, and what draws nothing made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.found.test_limits import faults
from tests.projects import CASE, report_of, weigh, write_project

from weighbridge.case.load import load_cases
from weighbridge.contracts import STEPS, Context, Model, Options, Step
from weighbridge.core.results import CaseResult
from weighbridge.run import chain
from weighbridge.run.events import Event, StageEntered
from weighbridge.run.job import Job, RunOptions
from weighbridge.run.pipeline import run_case
from weighbridge.run.plan import make_plan

HEAD = CASE[: CASE.index("recipe")]
RANDOM = (
    f"{HEAD}recipe: [{{prune: random_unstructured, amount: 0.4}}]\nthresholds: {{accuracy_drop: LIMIT}}\n"
)


def run(folder: Path, text: str) -> tuple[CaseResult, list[str]]:
    """The result, and the steps that were carried out."""
    (folder / "case.yaml").write_text(text)
    (case,) = load_cases(folder / "case.yaml")
    steps: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, StageEntered) and event.stage in ("prune", "quantize", "finetune"):
            steps.append(event.text)

    options = RunOptions(root=folder, store=folder / ".weighbridge", artifacts=folder / "work", bench=False)
    return run_case(Job(f"case.yaml::{case.name}", "case.yaml", make_plan(case), options), listen), steps


def test_the_worst_draw_is_judged_and_the_first_ships(tmp_path: Path) -> None:
    folder = write_project(tmp_path)
    alone = [weigh(folder, f"seed: {seed}\n" + RANDOM.replace("LIMIT", "0.9")) for seed in range(4)]
    drops = [one.verdicts[0].measured for one in alone]
    assert len(set(drops)) > 1
    assert max(drops) > drops[0]  # else this test could not tell the worst from the first
    limit = f"{(drops[0] + max(drops)) / 2:.6f}"
    assert run(folder, RANDOM.replace("LIMIT", limit))[0].status == "pass"
    result, _ = run(folder, "repeat: 4\n" + RANDOM.replace("LIMIT", limit))
    (verdict,) = result.verdicts
    assert verdict.status == "fail"
    assert verdict.measured == max(drops)
    assert "the worst of 4 draws, from " in verdict.message
    details = result.measurements["accuracy"].details["draws"]
    assert details["seeds"] == [0, 1, 2, 3]
    assert details["values"] == [one.measurements["accuracy"].candidate for one in alone]
    assert details["values"][details["shown"]] == result.measurements["accuracy"].candidate == details["min"]
    shipped = result.artifacts["candidate"]
    assert shipped is not None
    assert shipped.files[0].sha256 == alone[0].artifacts["candidate"].files[0].sha256
    assert any(note.startswith("accuracy of 4 draws (seeds 0 to 3): ") for note in result.notes)


def test_what_draws_nothing_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "WORTH_KEEPING_S", 0.0)
    folder = write_project(tmp_path)
    recipe = "recipe: [{prune: l1_unstructured, amount: 0.2}, {prune: random_unstructured, amount: 0.4}]\n"
    result, steps = run(folder, f"repeat: 3\n{HEAD}{recipe}thresholds: {{accuracy_drop: 0.9}}\n")
    assert result.status == "pass"
    assert steps.count("prune: random_unstructured") == 3
    assert steps.count("prune: l1_unstructured") == 1
    assert len(set(result.measurements["accuracy"].details["draws"]["values"])) > 1


def test_a_recipe_that_draws_nothing_says_that_repeating_changes_nothing(tmp_path: Path) -> None:
    folder = write_project(tmp_path)
    result, steps = run(folder, "repeat: 5\n" + CASE)
    assert result.status == "pass"
    assert any("byte for byte" in note and "5 draws" in note for note in result.notes)
    assert steps == ["prune: l1_unstructured"]


def test_calibration_is_drawn(tmp_path: Path) -> None:
    folder = write_project(tmp_path)
    recipe = "recipe: [{quantize: static, engine: onnxruntime, samples: SAMPLES}]\n"
    text = f"repeat: 3\n{HEAD}{recipe}thresholds: {{accuracy_drop: 0.5, fidelity: 1}}\n"
    few, _ = run(folder, text.replace("SAMPLES", "8"))
    draws = few.measurements["fidelity"].details["draws"]
    assert len(set(draws["values"])) == 3
    assert few.measurements["fidelity"].candidate == draws["min"]
    # A calibration split that is taken whole leaves nothing to draw.
    whole, _ = run(folder, text.replace("SAMPLES", "600"))
    assert any("byte for byte" in note for note in whole.notes)


def test_a_draw_that_cannot_be_carried_out_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    real = STEPS.get("prune:random_unstructured")
    calls: list[int] = []

    def apply(model: Any, options: Any, context: Any) -> Any:
        calls.append(context.draw)
        if context.draw == 2:
            raise ValueError("no such luck")
        return real.apply(model, options, context)

    monkeypatch.setitem(STEPS._entries, "prune:random_unstructured", replace(real, apply=apply))
    result, _ = run(write_project(tmp_path), "repeat: 4\nseed: 7\n" + RANDOM.replace("LIMIT", "0.9"))
    assert calls == [0, 1, 2]
    assert result.status == "error"
    assert "draw 3 of 4 (seed 9): ValueError: no such luck" in result.message


@pytest.mark.parametrize("stated", ["0", "101", "1.5"])
def test_how_often_is_a_whole_number(tmp_path: Path, stated: str) -> None:
    assert "repeat: should be" in faults(tmp_path, "accuracy_drop: 0.1", f"repeat: {stated}\n")
    assert faults(tmp_path, "accuracy_drop: 0.1", "repeat: 5\n") == ""


def test_without_a_recipe_there_is_nothing_to_repeat(tmp_path: Path) -> None:
    path = tmp_path / "case.yaml"
    path.write_text("model: {onnx: a.onnx}\nrepeat: 2\nthresholds: {size: 1 MB}\n")
    with pytest.raises(Exception, match=r"case.yaml:2:1.*has none"):
        load_cases(path)


@pytest.mark.slow
@pytest.mark.worker
def test_the_spread_stands_in_the_table_of_a_worker_too(pytester: pytest.Pytester) -> None:
    folder = write_project(pytester.path)
    (folder / "net.yaml").write_text("repeat: 3\n" + RANDOM.replace("LIMIT", "0.9"))
    result = pytester.runpytest_subprocess("-v", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines("*accuracy of 3 draws (seeds 0 to 2):*")
    assert (
        len(report_of(pytester.path)["rows"][0]["measurements"]["accuracy"]["details"]["draws"]["values"])
        == 3
    )


def test_an_option_that_a_step_gains_draws_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STEPS, "_entries", {name: STEPS.get(name) for name in STEPS.names()})
    folder, seeds = write_project(tmp_path), []

    class Before(Options):
        share: float = 0.5

    class After(Before):
        gained: int = 3

    def halve(model: Model, options: Before, context: Context) -> Model:
        seeds.append(context.seed)
        prune = STEPS.get("prune:random_unstructured")
        return prune.apply(model, prune.options.model_validate({"amount": options.share}), context)

    for options, stated in ((Before, "share: 0.4"), (After, "share: 0.4"), (After, "share: 0.4, gained: 4")):
        monkeypatch.setitem(
            STEPS._entries, "prune:halve", Step("prune", "halve", ("torch",), options, halve, must="sparsify")
        )
        weigh(folder, f"{HEAD}recipe: [{{prune: halve, {stated}}}]\nthresholds: {{accuracy_drop: 0.9}}\n")
    assert seeds[0] == seeds[1] != seeds[2]
