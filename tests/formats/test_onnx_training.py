"""A candidate that was exported in training mode, beside an original that was not."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper
from tests.found.onnx_graphs import model, node

from weighbridge.contracts import FORMATS, Model
from weighbridge.core.errors import StageError

NORM = {name: np.ones(4, np.float32) for name in ("scale", "bias", "mean", "variance")}


def normalized(training: int) -> Model:
    outputs = "y running_mean running_variance" if training else "y"
    nodes = [
        node("BatchNormalization", "x scale bias mean variance", outputs, "norm", training_mode=training)
    ]
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
