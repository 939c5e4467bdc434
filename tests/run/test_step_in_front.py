"""Where quantizing lost the outputs to outliers, the step that moves them is proposed: tried, and with what it brings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from tests.found.onnx_graphs import model, node, weight
from tests.projects import Weighed, weigh, write_samples

from weighbridge.case.model import StepRef
from weighbridge.contracts import STEPS
from weighbridge.core.results import read_result
from weighbridge.measure.layer_error import OutputError
from weighbridge.run.blame import _written
from weighbridge.run.chain import Chain

WIDTH = 16
STATIC = "  - {quantize: static, float_share: 0}\n"
SMOOTH = "  - {equalize: smooth_quant, insert: true}\n"


def case(folder: Path, loud: float, recipe: str, **options: Any) -> Weighed:
    """A normalization with loud channels of which a product reads the quiet ones, on 50 dB that it cannot reach."""
    gain = np.where(np.arange(WIDTH) % 4, 1, loud).astype(np.float32)
    weights = {"gain": gain, "shift": weight(WIDTH) * gain, "up": weight(WIDTH, 32) / gain[:, None]}
    nodes = [node("LayerNormalization", "x gain shift", "n", "norm"), node("MatMul", "n up", "y", "up")]
    onnx.save(model(nodes, weights, ["n", 6, WIDTH]).value, folder / "net.onnx")
    data = write_samples(folder, {"x": [6, WIDTH]})
    text = f"model: {{onnx: net.onnx}}\n{data}recipe:\n{recipe}thresholds: {{fidelity: 50}}\n"
    return weigh(folder, text, also=("fidelity",), **options)


def proposals(done: Weighed) -> list[str]:
    (verdict,) = (one for one in done.result.verdicts if one.threshold == "fidelity")
    assert verdict.status == "fail", verdict
    return [line for line in verdict.advice if line.startswith("- {")]


def test_it_is_proposed_with_what_it_brings_and_brings_it(tmp_path: Path) -> None:
    before = case(tmp_path, 60.0, STATIC)
    (line,) = proposals(before)
    assert line.startswith(
        "- {equalize: smooth_quant, insert: true}  # in front of quantize: static, line 4: "
    )
    errors = before.result.layer_errors
    assert errors is not None
    assert errors.before_db is not None
    assert read_result(before.result.row()).layer_errors == errors
    after = case(tmp_path, 60.0, f"  {line}\n{STATIC}")
    reached = after.measurements["fidelity"].candidate
    assert reached == pytest.approx(errors.before_db, abs=1.5)
    assert reached > before.measurements["fidelity"].candidate + 20


def test_it_is_written_so_that_it_is_read_again() -> None:
    """Somebody's own step may state texts that need their quotes."""
    stated = {"exclude": ["2", "a: b", "it's", "no"], "insert": True}
    step = STEPS.get("equalize:smooth_quant")
    ref = StepRef("equalize", "smooth_quant", "", step.key, step.options.model_validate(stated), 1)
    assert yaml.safe_load(_written(ref)) == {"equalize": "smooth_quant", **stated}


@pytest.mark.parametrize(
    ("loud", "recipe"),
    [
        pytest.param(1.0, STATIC, id="there are no outliers"),
        pytest.param(60.0, SMOOTH + STATIC, id="it is there already"),
        pytest.param(60.0, STATIC.replace("static, float_share: 0", "dynamic"), id="no samples are read"),
    ],
)
def test_it_is_not_proposed_where_it_brings_nothing(tmp_path: Path, loud: float, recipe: str) -> None:
    assert proposals(case(tmp_path, loud, recipe)) == []


def test_what_goes_wrong_in_the_trial_hides_no_other_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_artifact = OutputError.of_artifact
    opened: list[object] = []

    def fails_after_the_first(self: OutputError, artifact: Any) -> float:
        opened.append(artifact)
        if len(opened) > 1:
            raise RuntimeError("no such luck")
        return of_artifact(self, artifact)

    monkeypatch.setattr(OutputError, "of_artifact", fails_after_the_first)
    done = case(tmp_path, 60.0, STATIC)
    assert len(opened) > 1
    assert proposals(done) == []
    errors = done.result.layer_errors
    assert errors is not None
    assert errors.output_db < 50


def test_a_trial_that_would_take_longer_than_advice_may_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a large model, which takes an hour to quantize: the case would be ended in the midst of it, without a verdict."""
    records = Chain.records
    monkeypatch.setattr(
        Chain, "records", lambda self: tuple(replace(one, seconds=3600.0) for one in records(self))
    )
    done = case(tmp_path, 60.0, STATIC)
    assert proposals(done) == []
    assert done.result.layer_errors is not None


def test_whoever_asks_for_layers_alone_pays_for_no_trial(tmp_path: Path) -> None:
    """As `weighbridge sensitivity` and a search, which tell nobody what a trial brings."""
    errors = case(tmp_path, 60.0, STATIC, seek_layers="always").result.layer_errors
    assert errors is not None
    assert errors.layers
    assert errors.before_db is None
