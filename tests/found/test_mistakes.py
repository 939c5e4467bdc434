"""Mistakes in the data of a torch module: each gets the sentence that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.projects import weigh, write_project

from weighbridge.core.results import Status

CASE = """
model: {torch: model.py:net, weights: net.safetensors}
data: data.py:splits
recipe: [{quantize: dynamic, engine: torch}]
thresholds: {accuracy_drop: 0.05}
"""
HEAD = """
import numpy as np
from model import HERE

data = np.load(HERE / "data.npz")
x, y = data["test_x"], data["test_y"]
"""


def outcome(folder: Path, test: str, rest: str = "", head: str = "") -> Any:
    cases = write_project(folder)
    (cases / "data.py").write_text(f"{HEAD}{head}\ndef splits(): return {{'test': {test}}}\n")
    return weigh(cases, CASE + rest)


@pytest.mark.parametrize(
    "test",
    [
        "(x, y)",
        "(x.astype('float64'), y)",
        "(x.astype('float16'), y)",
        "(x, y[:, None])",
        "(x, np.eye(4)[y])",
        "(x, np.eye(4)[y] * 2 - 1)",
        "(x, np.where(np.arange(400)[:, None] == 7, 0.25, np.eye(4)[y]))",
        "(x, y.astype('float32'))",
        "(x.tolist(), y.tolist())",
        "[(row.tolist(), int(label)) for row, label in zip(x, y)]",
        "[(x[:9].tolist(), y[:9].tolist()), (x[9:].tolist(), y[9:].tolist())]",
        "lambda: (x, y)",
    ],
)
def test_it_works(tmp_path: Path, test: str) -> None:
    accuracy = outcome(tmp_path, test).measurements["accuracy"]
    assert accuracy.baseline > 0.85
    assert accuracy.details["n"] == 400


@pytest.mark.parametrize(
    ("test", "sentence"),
    [
        (
            "(x[:, :15], y)",
            "the module does not run on input 0 float32 [64, 15] from ",
        ),
        ("((x, x), y)", "input 1 float32 [64, 16] from -"),
        ("({'pixels': x}, y)", "; its forward takes (input): TypeError: "),
        (
            "((x * 10).astype('uint8'), y)",
            "whole numbers are handed over as they are, so give floats where it computes in floats",
        ),
        ("(x, y + 1)", "the targets run from 1 to 4, and the model has 4 classes, 0 to 3"),
        ("(x, y + 1)", "as of grades, write your own, `metric: file.py:function`"),
        ("(x, (y + 1) % 4)", "the baseline is no better than guessing"),
        ("(x[y == 3], y[y == 3])", "are the same, so always giving this one answer is right"),
        ("(x[:0], y[:0])", "split 'test' is empty"),
        (
            "(x, (np.eye(4) + np.eye(4, k=1))[y])",
            "the target [0, 1, 1, 0] marks several; for several labels a sample say ",
        ),
        ("(x, np.eye(4)[y] * (y > 0)[:, None])", "the target [0, 0, 0, 0] marks none"),
        (
            "(x, np.eye(4)[y] + np.eye(4)[y - 1] - np.eye(4)[y - 2])",
            "marks several; for several labels a sample say ",
        ),
        ("(x, np.where(np.eye(4)[y] == 1, 1, np.nan))", "needs class numbers, and a target is nan"),
        ("(x, y[:-1])", "inputs and targets differ in length: input 0 400, the targets 399"),
    ],
)
def test_the_sentence(tmp_path: Path, test: str, sentence: str) -> None:
    found = outcome(tmp_path, test)
    assert sentence in found.failed.get("accuracy", found.message)


@pytest.mark.parametrize("metric", ["mse", "mae"])
def test_an_error_of_class_numbers(tmp_path: Path, metric: str) -> None:
    found = outcome(tmp_path, "(x, y)", f"metric: {metric}\n")
    said = found.failed["accuracy"]
    assert f"metric '{metric}' subtracts targets from outputs of the same shape" in said
    assert "a sample's output is [4], its target []; for class numbers say `metric: accuracy`" in said


@pytest.mark.parametrize("metric", ["mse", "mae"])
def test_an_error_of_outputs(tmp_path: Path, metric: str) -> None:
    found = outcome(tmp_path, "(x, np.eye(4)[y] * 8)", f"metric: {metric}\nallow_chance: true\n")
    assert found.measurements["accuracy"].baseline > 0, found.failed


def test_nan(tmp_path: Path) -> None:
    found = outcome(tmp_path, "(x, y)", head="x[:, 3] = np.nan")
    assert "NaN or infinite on 400 of 400 samples" in found.failed["accuracy"]
    assert "it is the data and not the model" in found.failed["accuracy"]


def test_nan_of_the_model_is_the_models(tmp_path: Path) -> None:
    cases = write_project(tmp_path)
    (cases / "model.py").write_text(
        (cases / "model.py").read_text()
        + "\ndef nan():\n    made = net()\n    made[4].bias.data[0] = float('nan')\n    return made\n"
    )
    found = weigh(cases, "model: {torch: model.py:nan}\ndata: model.py:splits\nthresholds: {accuracy_drop: 0.05}\n"
                         "candidate: {torch: model.py:net, weights: net.safetensors}\n")  # fmt: skip
    assert "the baseline's outputs are NaN or infinite on 400 of 400 samples" in found.failed["accuracy"]
    assert "the data" not in found.failed["accuracy"]


def test_a_few_answers_that_are_no_numbers_are_told_beside_a_limit_that_is_met(tmp_path: Path) -> None:
    """As a float16 that overflows gives them, for the loudest samples."""
    cases = write_project(tmp_path)
    (cases / "model.py").write_text(
        (cases / "model.py").read_text() + "\n\nclass Overflows(nn.Sequential):\n"
        "    def forward(self, x):\n        y = super().forward(x)\n"
        "        return torch.where(x[:, :1] > LIMIT, torch.nan, y)\n\n\n"
        "def overflows():\n    return Overflows(*net())\n\n\n"
        "LIMIT = float(np.sort(splits()['test'][0][:, 0])[-4])\n"
    )
    found = weigh(cases, "model: {torch: model.py:net, weights: net.safetensors}\ndata: model.py:splits\n"
                         "thresholds: {accuracy_drop: 0.05, accuracy: 0.5}\n"
                         "candidate: {torch: model.py:overflows, weights: net.safetensors}\n")  # fmt: skip
    for name in ("accuracy_drop", "accuracy"):
        verdict = found.result.verdict(name)
        assert verdict is not None
        assert verdict.status is Status.PASS
        assert "the candidate's outputs are NaN or infinite on 3 of 400 samples" in verdict.advice
