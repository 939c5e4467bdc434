"""`round_trip` accuses no transformer and no text model: tables, positions, masks and tied weights are not held to what
a recipe promises of weights."""

from __future__ import annotations

import pytest
from tests.projects import report_of

MODEL = """
import torch
from torch import nn


class Text(nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.table, self.place = nn.Embedding(60, 32), nn.Parameter(torch.randn(1, 6, 32) * 0.3)
        self.register_buffer("mask", torch.full((6, 6), float("-inf")).triu(1))
        self.q, self.k, self.v, self.o = (nn.Linear(32, 32) for _ in range(4))
        self.norm, self.up, self.down = nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32)
        self.out = nn.Linear(32, 60, bias=False)
        if tied:
            self.out.weight = self.table.weight

    def forward(self, ids):
        x = self.table(ids) + self.place
        scores = self.q(x) @ self.k(x).transpose(1, 2) / 32 ** 0.5 + self.mask
        x = self.norm(x + self.o(scores.softmax(-1) @ self.v(x)))
        return self.out(x + self.down(torch.relu(self.up(x))))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.gru, self.out = nn.Embedding(60, 16), nn.GRU(16, 24, batch_first=True), nn.Linear(24, 4)

    def forward(self, ids):
        return self.out(self.gru(self.table(ids))[0])


def text():
    torch.manual_seed(0)
    return Text(False)


def tied():
    torch.manual_seed(0)
    return Text(True)


def tagger():
    torch.manual_seed(0)
    return Tagger()
"""

DATA = """
import numpy as np

def splits():
    r = np.random.default_rng(1)
    return {s: ((r.integers(0, 60, (n, 6)),), None) for s, n in (("test", 32), ("train", 32), ("calibration", 32))}
"""

STATIC = "quantize: static, engine: onnxruntime, per_channel: true"
DYNAMIC = "quantize: dynamic, engine: onnxruntime"
PAIRS = [
    ("text", STATIC),
    ("text", "quantize: litert, mode: dynamic"),
    ("tied", DYNAMIC),
    ("tagger", "quantize: dynamic, engine: torch"),
    *(
        pytest.param(network, step, marks=pytest.mark.slow)
        for network, step in (
            ("text", DYNAMIC),
            ("tied", STATIC),
            ("tagger", DYNAMIC),
            ("tagger", "quantize: litert, mode: static"),
        )
    ),
]


@pytest.mark.parametrize(("network", "step"), PAIRS)
def test_a_text_model_is_not_accused(pytester: pytest.Pytester, network: str, step: str) -> None:
    if "litert" in step:
        pytest.importorskip("litert_torch")
        pytest.importorskip("ai_edge_quantizer")
    folder = pytester.mkdir("cases")
    (folder / "model.py").write_text(MODEL)
    (folder / "data.py").write_text(DATA)
    (folder / "net.yaml").write_text(
        f"model: {{torch: model.py:{network}}}\ndata: data.py:splits\nrecipe: [{{{step}}}]\n"
        "thresholds: {size: 1 GB}\n"
    )
    pytester.runpytest_inprocess()
    (row,) = report_of(pytester.path)["rows"]
    found = {verdict["threshold"]: (verdict["status"], verdict["message"]) for verdict in row["verdicts"]}
    if row["status"] == "error":
        pytest.skip(f"the step itself cannot do with this model: {row['message']}")
    assert found["round_trip"][0] == "pass", found["round_trip"][1]
