"""Models that were exported in training mode: a candidate beside an original that was not, and an original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tests.found.onnx_graphs import model, node
from tests.projects import weigh
from torch import nn

from weighbridge.contracts import FORMATS, Context, Model
from weighbridge.convert.to_onnx import export
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError

NORM = {name: np.ones(4, np.float32) for name in ("scale", "bias", "mean", "variance")}


def normalized(training: int) -> Model:
    nodes = [node("BatchNormalization", "x scale bias mean variance", "y", "norm", training_mode=training)]
    return model(nodes, NORM, ["n", 4])


def dropped(training: bool, constant: bool) -> Model:
    stored = {"ratio": np.float32(0.5)}
    flag = np.array(training)
    nodes = [node("Dropout", "x ratio training", "y", "drop")]
    if constant:
        nodes.insert(0, node("Constant", "", "training", "flag", value=numpy_helper.from_array(flag)))
        nodes[0].ClearField("input")
    else:
        stored["training"] = flag
    return model(nodes, stored, ["n", 4])


EVALUATING = [normalized(0), dropped(False, True), dropped(False, False)]
TRAINING = [normalized(1), dropped(True, True), dropped(True, False)]


@pytest.mark.parametrize("candidate", TRAINING)
@pytest.mark.parametrize("original", EVALUATING)
def test_a_candidate_in_training_mode_is_an_error(candidate: Model, original: Model) -> None:
    with pytest.raises(StageError, match=r"exported in training mode, .*(norm|drop) .*`model.eval\(\)`"):
        FORMATS.get("onnx").check_against(candidate, original)


@pytest.mark.parametrize("candidate", EVALUATING)
@pytest.mark.parametrize("original", [*EVALUATING, *TRAINING])
def test_a_candidate_that_does_not_train_is_left_alone(candidate: Model, original: Model) -> None:
    FORMATS.get("onnx").check_against(candidate, original)


@pytest.mark.parametrize("candidate", TRAINING)
@pytest.mark.parametrize("original", TRAINING)
def test_what_the_original_does_too_is_how_the_model_is(candidate: Model, original: Model) -> None:
    FORMATS.get("onnx").check_against(candidate, original)


def exported(trains: bool, *layers: nn.Module) -> Model:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 8), *layers, nn.Linear(8, 3)).train(trains)
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    return Model("exported", torch.export.export(module, (torch.randn(4, 8),), dynamic_shapes=shapes))


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(8), nn.Dropout(0.5)])
def test_an_exported_candidate_in_training_mode_is_an_error(layer: nn.Module) -> None:
    check = FORMATS.get("exported").check_against
    with pytest.raises(StageError, match=r"exported in training mode, .*aten::(batch_norm|dropout)"):
        check(exported(True, layer), exported(False, layer))
    check(exported(True, layer), exported(True, layer))
    check(exported(False, layer), exported(True, layer))


def test_an_exported_dropout_that_drops_nothing_is_left_alone() -> None:
    FORMATS.get("exported").check_against(exported(True, nn.Dropout(0.0)), exported(False, nn.Dropout(0.0)))


@pytest.mark.parametrize("trains", [False, True])
def test_an_original_in_training_mode_is_told(trains: bool, tmp_path: Path) -> None:
    """Both sides compute so: no limit is missed, and whoever serves one sample at a time gets something else."""
    weights = {**NORM, "w": np.random.default_rng(0).standard_normal((4, 3)).astype("f4")}
    norm = node("BatchNormalization", "x scale bias mean variance", "h", "norm", training_mode=int(trains))
    if trains:
        norm.output.extend(["running_mean", "running_variance"])
    nodes = [norm, node("MatMul", "h w", "y", "head")]
    onnx.save(model(nodes, weights, ["n", 4]).value, tmp_path / "net.onnx")
    x = np.random.default_rng(1).standard_normal((200, 4)).astype("f4")
    np.savez(tmp_path / "samples.npz", x=x, y=np.arange(200) % 3)
    recipe = "recipe: [{prune: magnitude, amount: 0.3}]\n"
    text = f"model: {{onnx: net.onnx}}\ndata: samples.npz\nallow_chance: true\n{recipe}"
    result = weigh(tmp_path, f"{text}thresholds: {{accuracy_drop: 0.5}}\n", also=()).result
    assert result.status == "pass", result.message
    told = any(
        "exported in training mode: norm (BatchNormalization)" in note
        for verdict in result.verdicts
        for note in verdict.advice
    )
    assert told == trains


def test_a_program_in_training_mode_is_no_riddle_of_the_exporter(tmp_path: Path) -> None:
    program = exported(True, nn.BatchNorm1d(8))
    data = Data(shapes=((8,),))
    with pytest.raises(
        StageError, match=r"exported in training mode: .*`model.eval\(\)`.*differs from torch's"
    ):
        export(program, Context(tmp_path, tmp_path, 0, data))
