"""From the noise that each layer leaves to those that are named, and to what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from weighbridge.case.load import load_cases
from weighbridge.core.data import Data
from weighbridge.core.layer_errors import LayerError, LayerErrors
from weighbridge.core.results import Status, Verdict
from weighbridge.measure.layer_error import _lost
from weighbridge.run.remedies import advised


def layers(*decibels: float) -> LayerErrors:
    ranked = sorted(
        (LayerError(f"l{at}", "Conv", value, at) for at, value in enumerate(decibels)),
        key=lambda layer: layer.sqnr_db,
    )
    return LayerErrors("quantize: static", 3, 64, "data", 1.0, tuple(ranked))


def test_layers_are_culprits_where_a_bit_is_gained_without_them() -> None:
    def culprits(*decibels: float) -> list[str]:
        return [layer.name for layer in layers(*decibels).culprits]

    assert culprits(30, 3, 30, 30) == ["l1"]
    assert culprits(30, 3, 30, 4, 30, 30) == ["l1", "l3"]
    assert culprits(20, 20, 20, 20) == []
    assert culprits(20, 20) == []
    assert culprits(37, 37, 37, 41, 41, 41) == []  # three quarters of the noise, but nothing stands out
    assert culprits(*[20] * 5 + [60] * 20) == []  # five to blame are no culprit
    assert culprits(-200, 30, 30) == ["l0"]
    assert culprits(5) == ["l0"]
    assert culprits() == []


def test_a_proposal_leaves_something_to_quantize() -> None:
    assert layers(5).proposal == ()
    assert layers(40, 5).proposal == ("l1",)
    assert layers(40, 4, 40, 5, 40).proposal == ("l1", "l3")
    assert layers(40, 5, 40, 4, 40).proposal == ("l1", "l3")


LOST = [
    pytest.param(17.0, True, id="the quantizer lost it"),
    pytest.param(38.0, False, id="most was lost before"),
]


def told(folder: Path, recipe: str, errors: LayerErrors) -> tuple[str, ...]:
    """What is advised on a missed fidelity of the output as `errors` found it."""
    (folder / "case.yaml").write_text(
        f"model: {{onnx: net.onnx}}\nrecipe: {recipe}\nthresholds: {{size: 1 MB}}\n"
    )
    (case,) = load_cases(folder / "case.yaml")
    missed = Verdict("fidelity", Status.FAIL, {"min": 60}, errors.output_db, margin=errors.output_db - 60)
    samples = np.ones((4, 2), np.float32)
    (verdict,) = advised(case, [missed], {}, errors, Data({"test": samples, "calibration": samples}), ())
    return verdict.advice


@pytest.mark.parametrize(("output_db", "between"), LOST)
def test_what_no_layer_lost_is_said_to_be_lost_between_them(
    tmp_path: Path, output_db: float, between: bool
) -> None:
    found = tuple(LayerError(str(place), "Gemm", 44.0 + place, place) for place in range(4))
    errors = LayerErrors("quantize: static", 1, 64, "data", output_db, found)
    first, *_ = told(tmp_path, "[quantize: dynamic]", errors)
    assert ("together that would be 39 dB, and it is 17 dB: the rest is lost between" in first) == between


@pytest.mark.parametrize(("output_db", "in_front"), LOST)
@pytest.mark.parametrize(
    ("recipe", "line"),
    [
        ("\n  - equalize: cross_layer\n  - quantize: static", 4),
        ("[{equalize: cross_layer}, {quantize: static}]", 2),
    ],
    ids=["a line a step", "on one line"],
)
def test_no_step_is_put_in_front_of_one_that_did_not_lose_it(
    tmp_path: Path, recipe: str, line: int, output_db: float, in_front: bool
) -> None:
    step, reached = "{equalize: smooth_quant}", output_db + 9
    errors = LayerErrors("quantize: static", line, 64, "data", output_db, before=step, before_db=reached)
    advice = told(tmp_path, recipe, errors)
    assert any(line.startswith("- {equalize: smooth_quant}") for line in advice) == in_front
    assert any("look at the steps before it" in line for line in advice) != in_front


@pytest.mark.parametrize(("recipe", "line"), [("\n  - quantize: static", 3), ("[quantize: static]", 2)])
def test_nothing_was_lost_before_the_first_step(tmp_path: Path, recipe: str, line: int) -> None:
    errors = LayerErrors("quantize: static", line, 64, "data", 38.0)
    assert not any("steps before it" in line for line in told(tmp_path, recipe, errors))


def test_the_samples_that_lost_most_are_looked_at() -> None:
    before = [np.ones((100, 4), np.float32), np.full((100, 2), 50, np.float32)]
    after = [one.copy() for one in before]
    after[0][[7, 90]] += 1
    after[1][3] += 1  # a fiftieth of what that output holds
    after[0][11, 2] = np.nan
    assert np.argsort(_lost(before, after, 100))[-4:].tolist() in ([3, 7, 90, 11], [3, 90, 7, 11])
