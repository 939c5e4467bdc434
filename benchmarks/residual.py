"""A residual CNN with 697,000 parameters at batch 32: which int8 artifact is fastest, and how much faster than which float?

python benchmarks/residual.py

Cases of Weighbridge itself, of `quantize: static` in ONNX Runtime and of `quantize: pt2e` compiled by Inductor, each against the
float network in its own engine and in torch as it is; milliseconds are of a call. Weights and data are random: only time counts.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from measured import pytest
from tabulate import tabulate

MODEL = """
import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x):
        return torch.relu(self.body(x) + self.skip(x))


def network():
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU()]
    for widths in ((32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)):
        body.append(Block(*widths))
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)).eval()


def splits():
    random = np.random.default_rng(0)
    part = lambda n: (random.standard_normal((n, 3, 32, 32)).astype("float32"), random.integers(0, 10, n))
    return {"test": part(256), "calibration": part(64)}
"""
CASES = """
model: {torch: "model.py:network"}
data: model.py:splits
allow_chance: true
cases:
"""
CASE = """
  - name: {name}
    engine: {engine}
    recipe: [{{quantize: {method}, engine: {by}}}]
    thresholds: {{speedup: {{min: 0.01, batch: 32, budget: 20{against}}}, latency: {{max: 10 s, batch: 32, budget: 5}}}}
"""
WAYS = [
    ("onnxruntime", "static", "onnxruntime", ""),
    ("onnxruntime", "static", "onnxruntime", "torch"),
    ("torch_compile", "pt2e", "torch", ""),
    ("torch_compile", "pt2e", "torch", "torch"),
]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cases").mkdir()
        (folder / "cases" / "model.py").write_text(MODEL)
        cases = [
            CASE.format(
                name=f"way-{number}",
                engine=engine,
                method=method,
                by=by,
                against=against and f", against: {against}",
            )
            for number, (engine, method, by, against) in enumerate(WAYS)
        ]
        (folder / "cases" / "residual.yaml").write_text(CASES + "".join(cases))
        done = pytest(folder, "--bench", "-k", "not round_trip", may_fail=True)
        rows = json.loads((folder / "reports" / "latest.json").read_text())["rows"]
    table = []
    for row, (engine, method, _, against) in zip(rows, WAYS, strict=True):
        measured = row["measurements"]
        if "latency" not in measured:
            raise SystemExit(done.out)
        speed, latency = measured["speed"], measured["latency"]
        table.append(
            [
                f"{method}, {engine}",
                against or engine,
                f"{latency['candidate']:.2f}",
                f"{speed['baseline'] / speed['candidate']:.2f}x",
            ]
        )
    print(
        tabulate(table, ("int8", "float in", "ms", "times faster"), tablefmt="github", disable_numparse=True)
    )


if __name__ == "__main__":
    main()
