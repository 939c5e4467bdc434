"""Weights of a torch module that its file does not hold: size_ratio 7 and a tenth of the weights, of the same numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.projects import weigh

MODEL = """
import numpy as np
import torch


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4))


def data():
    x = np.random.default_rng(0).standard_normal((200, 16)).astype("float32")
    return {"test": (x, net()(torch.tensor(x)).argmax(1).numpy())}


class Codes(torch.nn.Module):
    def __init__(self, layer, kept):
        super().__init__()
        scale = layer.weight.detach().abs().max() / 127
        codes = (layer.weight.detach() / scale).round().to(torch.int8)
        self.bias = torch.nn.Parameter(layer.bias.detach())
        if kept == "attribute":
            self.codes, self.scale = codes, scale
        else:
            self.register_buffer("codes", codes, persistent=kept == "buffer")
            self.register_buffer("scale", scale, persistent=kept == "buffer")

    def forward(self, x):
        return torch.nn.functional.linear(x, self.codes.float() * self.scale, self.bias)


def of_codes(kept):
    model = net()
    model[0], model[2] = Codes(model[0], kept), Codes(model[2], kept)
    return model


def attribute(): return of_codes("attribute")
def buffer(): return of_codes("buffer")
def not_persistent(): return of_codes("not persistent")


class Listed(torch.nn.Module):
    def __init__(self, registered):
        super().__init__()
        layers = list(net())
        self.last = layers[2]
        self.layers = torch.nn.ModuleList(layers) if registered else layers[:2]
        self.named = {"first": layers[0], "last": [self.last]} if registered else {}

    def forward(self, x):
        return self.last(self.layers[1](self.layers[0](x)))


def listed(): return Listed(False)
def registered(): return Listed(True)


class Table(torch.nn.Module):
    '''Numbers that the code computes: no file need hold them, and a candidate that has them too hides nothing.'''

    def __init__(self):
        super().__init__()
        self.net, self.places = net(), torch.zeros(1000, 16)
        self.register_buffer("mask", torch.ones(100, 100), persistent=False)

    def forward(self, x):
        return self.net(x + self.places[:1])


def table(): return Table()
"""
CASE = """
model: {torch: model.py:%s}
data: model.py:data
allow_chance: true
%s
thresholds: {accuracy_drop: 0.1, size_ratio: 1.5}
"""
PRUNE = "recipe: [{prune: l1_unstructured, amount: 0.01}]"


def message(folder: Path, original: str, rest: str) -> str:
    (folder / "model.py").write_text(MODEL)
    return str(weigh(folder, CASE % (original, rest)).result.message)


@pytest.mark.parametrize("kept", ["attribute", "not_persistent"])
def test_codes_that_the_file_lacks_are_not_small(tmp_path: Path, kept: str) -> None:
    told = message(tmp_path, "net", f"candidate: {{torch: model.py:{kept}}}")
    assert "the candidate computes with 1280 numbers that its file does not hold" in told
    assert "0.codes [64, 16]" in told


@pytest.mark.parametrize(
    ("original", "rest"), [("listed", PRUNE), ("net", "candidate: {torch: model.py:listed}")]
)
def test_layers_in_a_plain_list_are_refused(tmp_path: Path, original: str, rest: str) -> None:
    told = message(tmp_path, original, rest)
    assert "weights that no state dict holds: layers.0.weight [64, 16], layers.0.bias [64]" in told


@pytest.mark.parametrize(
    ("original", "rest"),
    [
        ("net", "candidate: {torch: model.py:buffer}"),
        ("registered", PRUNE),
        ("table", PRUNE),
        ("table", "recipe: [{quantize: dynamic, engine: torch}]"),
    ],
)
def test_what_the_file_holds_and_what_code_computes_are_not_accused(
    tmp_path: Path, original: str, rest: str
) -> None:
    assert message(tmp_path, original, rest) == ""
