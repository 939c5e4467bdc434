"""Layers whose weight the forward of another module reads, as torchvision's Swin does: torch's quantized layers have none."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.projects import weigh

from weighbridge.core.results import Status

MODELS = '''
import torch
from torch import nn


class Window(nn.Module):
    """Its own forward multiplies by the weight of a layer that is never called."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x):
        return self.proj(nn.functional.linear(x, self.qkv.weight, self.qkv.bias).relu())


class Net(nn.Module):
    def __init__(self, window):
        super().__init__()
        self.first, self.window, self.head = nn.Linear(8, 64), window, nn.Linear(64, 4)
        self.unused = nn.Linear(64, 16)

    def forward(self, x):
        return self.head(self.window(self.first(x).relu()))


class Linear(nn.Linear):
    """As timm's: another class of torch's name, which torch does not swap."""


def named_alike():
    return nn.Sequential(nn.Conv1d(1, 4, 3), nn.Flatten(), Linear(24, 4))


def read():
    return Net(Window())


def called():
    return Net(nn.Linear(64, 64))
'''
STEP = "recipe:\n  - quantize: dynamic\n    engine: torch\n"


def case(model: str, size: str = "8") -> str:
    return f"model: {{torch: model.py:{model}}}\ninputs: [[{size}]]\n{STEP}thresholds: {{fidelity: 15, size_ratio: 1.1}}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODELS)
    return tmp_path


def test_a_layer_whose_weight_is_read_stays_in_float_and_is_named(project: Path) -> None:
    outcome = weigh(project, case("read"))
    assert outcome.status is Status.PASS, outcome.message
    (step,) = outcome.steps
    notes = " ".join(step.notes)
    assert "window.qkv (Linear)" in notes
    assert "no layer whose weight another forward reads" in notes
    assert "window.proj (Linear)" not in notes, "it is called, and quantized"


def test_an_unused_layer_is_quantized_where_nothing_keeps_the_module_from_running(project: Path) -> None:
    outcome = weigh(project, case("called"))
    assert outcome.status is Status.PASS, outcome.message
    assert outcome.steps[0].after.quantized == 4


def test_a_class_of_torchs_name_is_told_from_torchs_own(project: Path) -> None:
    outcome = weigh(project, case("named_alike", "1, 8"))
    assert outcome.status is Status.ERROR
    assert "weight of a Linear, a subclass of torch's" in outcome.message
