"""Wanda: weights that matter least to an output, by how loud their inputs were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.found.torch_modules import apply
from tests.prune.by_output import CONVOLUTIONS, assert_n_m, by_output
from torch import nn

from weighbridge.contracts import STEPS
from weighbridge.core.errors import StageError


def scores(layer: Any, x: Any) -> Any:
    """|W| times the norm of what each input was, [outputs, inputs, positions], one output channel at a time."""
    groups = getattr(layer, "groups", 1)
    loud = np.sqrt((np.moveaxis(x, 1, 0).reshape(x.shape[1], -1).astype(np.float64) ** 2).sum(1))
    rows = np.abs(by_output(layer))
    own = np.split(loud, groups)
    return np.stack([row * own[at * groups // len(rows)][:, None] for at, row in enumerate(rows)])


def heard(layer: Any) -> Any:
    channels = getattr(layer, "in_features", None) or layer.in_channels
    shape = (32, channels, *[9] * (layer.weight.dim() - 2))
    loudness = np.geomspace(1, 100, channels).reshape(-1, *[1] * (layer.weight.dim() - 2))
    return (np.random.default_rng(0).standard_normal(shape) * loudness).astype(np.float32)


@pytest.mark.parametrize("layer", [nn.Linear(16, 6), *CONVOLUTIONS])
def test_wanda_removes_what_matters_least_to_each_output(tmp_path: Path, layer: Any) -> None:
    x = heard(layer)
    made = apply("prune:wanda", nn.Sequential(layer), tmp_path, {"calibration": (x, None)}, amount=0.5)
    worth, after = scores(layer, x), by_output(made.value[0])
    for row, left in zip(worth.reshape(len(worth), -1), after.reshape(len(after), -1), strict=True):
        assert sorted(np.flatnonzero(left == 0)) == sorted(np.argsort(row, kind="stable")[: len(row) // 2])


@pytest.mark.parametrize(
    "layer", [nn.Linear(16, 6), nn.Conv2d(16, 12, 3, groups=2), nn.ConvTranspose2d(8, 4, 3)]
)
def test_wanda_in_a_pattern(tmp_path: Path, layer: Any) -> None:
    x = heard(layer)
    made = apply("prune:wanda", nn.Sequential(layer), tmp_path, {"calibration": (x, None)}, pattern="2:4")
    assert_n_m(scores(layer, x), np.where(by_output(made.value[0]) != 0, scores(layer, x), 0), 2, 4)


def test_a_loud_input_keeps_its_small_weights(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 3, bias=False))
    with torch.no_grad():
        net[0].weight[:] = torch.tensor([0.1, 1.0])
    x = np.array([[100.0, 1.0], [-100.0, 1.0]], np.float32)
    made = apply("prune:wanda", net, tmp_path, {"calibration": (x, None)})
    assert made.value[0].weight.tolist() == [[pytest.approx(0.1), 0.0]] * 3


def test_a_weight_that_two_layers_share_hears_both(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[0].weight[:] = torch.tensor([[1.0, 1.1], [1.0, 1.1]])
    net[1].weight = net[0].weight
    # The first layer hears nothing of its first input, the second the same of both.
    x = np.array([[0.0, 1.0]], np.float32)
    made = apply("prune:wanda", net, tmp_path, {"calibration": (x, None)})
    assert made.value[1].weight is made.value[0].weight
    assert made.value[0].weight.count_nonzero() == 2
    assert (made.value[0].weight[:, 0] == 0).all()


class ReadsItself(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        return self.head(torch.relu(x @ self.inner.weight.T))


def test_a_layer_that_is_never_called_is_left_and_named(tmp_path: Path) -> None:
    x = {"calibration": (np.ones((4, 8), np.float32), None)}
    made = apply("prune:wanda", ReadsItself(), tmp_path, x)
    assert (made.value.inner.weight != 0).all()
    assert "inner: left as it was, since its weight is read without calling it" in made.notes
    with pytest.raises(StageError, match="no chosen layer is called: inner"):
        apply("prune:wanda", ReadsItself(), tmp_path, x, layers=["inner"])


class TakesAVector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
        self.base = nn.Parameter(torch.ones(8))

    def forward(self, x: Any) -> Any:
        return self.head(x * self.gate(self.base))


def test_a_layer_that_takes_one_vector_is_heard(tmp_path: Path) -> None:
    x = {"calibration": (np.ones((4, 8), np.float32), None)}
    made = apply("prune:wanda", TakesAVector(), tmp_path, x)
    assert made.value.gate.weight.count_nonzero() == 32


def test_wanda_has_an_amount_or_a_pattern() -> None:
    with pytest.raises(ValidationError, match="leave `amount` out"):
        STEPS.get("prune:wanda").options.model_validate({"amount": 0.5, "pattern": "2:4"})


class Enlarging(nn.Module):
    """Tells its layer the size before the values."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(8, 4, 3, stride=2)

    def forward(self, x: Any) -> Any:
        return self.up(output_size=[20, 20], input=x)


def test_a_layer_may_be_called_by_keywords_in_any_order(tmp_path: Path) -> None:
    net = Enlarging()
    made = apply("prune:wanda", net, tmp_path, {"calibration": (heard(net.up), None)}, amount=0.5)
    assert (made.value.up.weight == 0).float().mean() == 0.5
