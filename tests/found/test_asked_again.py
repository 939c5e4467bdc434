"""Models that answer the same samples otherwise when asked again, and those that only look as if they might."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.found.onnx_graphs import model, node
from tests.projects import weigh

MODULE = """
import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional as F


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b, self.drop = nn.Linear(12, 64), nn.Linear(64, 3), nn.Dropout(0.4)

    def forward(self, x):
        return self.b(DROP(torch.relu(self.a(x))))


def samples():
    x = np.random.default_rng(1).normal(0, 1, (200, 12)).astype("f4")
    return {"test": (x, x[:, :3].argmax(1))}
"""
CASE = """
model: {torch: model.py:Network}
data: model.py:samples
allow_chance: true
recipe: [{prune: l1_unstructured, amount: 0.1}]
thresholds: {accuracy_drop: 0.9}
"""
DRAWS = "the baseline and the candidate answer the same samples otherwise when asked again"


@pytest.mark.parametrize(
    ("drop", "draws"),
    [("F.dropout", True), ("self.drop", False), ("(lambda x: F.dropout(x, training=self.training))", False)],
)
def test_a_network_that_draws_in_use_is_told(tmp_path: Path, drop: str, draws: bool) -> None:
    (tmp_path / "model.py").write_text(MODULE.replace("DROP", drop))
    (verdict,) = weigh(tmp_path, CASE, also=()).result.verdicts
    assert verdict.status == "pass"
    assert any(DRAWS in line for line in verdict.advice) == draws


def planted(folder: Path, noise: float) -> Any:
    """A candidate that adds noise to what the baseline answers."""
    x = np.random.default_rng(1).normal(0, 1, (200, 4)).astype("f4")
    np.savez(folder / "samples.npz", x=x, y=x.argmax(1))
    onnx.save(model([node("Identity", "x", "y", "same")], {}, ["n", 4]).value, folder / "baseline.onnx")
    nodes = [
        node("RandomNormalLike", "x", "noise", "noise", scale=noise),
        node("Add", "x noise", "y", "added"),
    ]
    onnx.save(model(nodes, {}, ["n", 4]).value, folder / "candidate.onnx")
    text = "model: {onnx: baseline.onnx}\ncandidate: {onnx: candidate.onnx}\ndata: samples.npz\n"
    return weigh(folder, f"{text}thresholds: {{accuracy_drop: 0.2}}\n", also=()).result


def test_a_candidate_that_draws_and_its_baseline_does_not_is_told(tmp_path: Path) -> None:
    (verdict,) = planted(tmp_path, 0.1).verdicts
    assert any("the candidate answers the same samples otherwise" in line for line in verdict.advice)


def test_what_rounding_could_do_is_no_draw(tmp_path: Path) -> None:
    (verdict,) = planted(tmp_path, 1e-3).verdicts
    assert verdict.status == "pass"
    assert not any("asked again" in line for line in verdict.advice)
