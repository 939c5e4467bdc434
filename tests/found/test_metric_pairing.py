"""Metrics that hold each output against everybody's target, since numpy stretches [N, 1] and [N] to [N, N]."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from weighbridge.contracts import METRICS
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.measure.evaluation import evaluate
from weighbridge.measure.metrics import UserMetric

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((100, 5)).astype(np.float32)
NUMBERS = X.sum(1)
CLASSES = X.argmax(1)
COLUMN = SimpleNamespace(run=lambda inputs: (inputs[0].sum(1, keepdims=True),))
ROW = SimpleNamespace(run=lambda inputs: (inputs[0].sum(1),))
SCORES = SimpleNamespace(run=lambda inputs: (inputs[0],))


def value(function: Any, model: Any, targets: Any) -> float:
    metric = UserMetric("mine", function) if callable(function) else METRICS.get(function)
    split = Data({"test": (X, targets)}).split("test")
    return evaluate({"candidate": model}, split, metric)["candidate"].value(metric)


def squares(outputs: Any, targets: Any) -> Any:
    return (outputs - targets) ** 2


def root(outputs: Any, targets: Any) -> float:
    return float(np.sqrt(np.mean((outputs - targets) ** 2)))


def right(outputs: Any, targets: Any) -> float:
    return float(np.mean(outputs.argmax(1) == targets))


@pytest.mark.parametrize(
    ("function", "model", "targets"),
    [
        (squares, COLUMN, NUMBERS),
        (root, COLUMN, NUMBERS),
        (squares, ROW, NUMBERS[:, None]),
        (right, SCORES, CLASSES[:, None]),  # as a data frame of one column gives them
    ],
)
def test_each_against_everybody_is_refused(function: Any, model: Any, targets: Any) -> None:
    with pytest.raises(StageError, match="metric mine holds each output against everybody's target"):
        value(function, model, targets)


@pytest.mark.parametrize(
    ("function", "model", "targets", "wanted"),
    [
        (squares, COLUMN, NUMBERS[:, None], 0),
        (squares, ROW, NUMBERS, 0),
        (lambda o, t: (o[:, 0] - t) ** 2, COLUMN, NUMBERS, 0),
        (lambda o, t: np.abs(o.mean(-1) - t), COLUMN, NUMBERS, 0),
        (right, SCORES, CLASSES, 1),
        (lambda o, t: o.argmax(1) == t[:, 0], SCORES, CLASSES[:, None], 1),
        (lambda o, t: float((o[:, 0] > 0).mean() == (t > 0).mean()), COLUMN, NUMBERS, 1),  # of distributions
        (lambda o, t: float(o.std()), COLUMN, NUMBERS, NUMBERS.std()),  # of no targets
        ("accuracy", SCORES, CLASSES[:, None], 1),
        ("mse", COLUMN, NUMBERS, 0),
    ],
)
def test_each_against_its_own_is_not(function: Any, model: Any, targets: Any, wanted: float) -> None:
    assert value(function, model, targets) == pytest.approx(wanted, abs=1e-9, rel=1e-5)
