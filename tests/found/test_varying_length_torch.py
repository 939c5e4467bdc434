"""torch modules on samples of several lengths: what is exported for them takes every length, and answers as torch does."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.projects import weigh

CODE = """
import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence


def _set(module):
    torch.manual_seed(0)
    return module


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.rnn, self.out = nn.Embedding(40, 16), nn.LSTM(16, 32, batch_first=True), nn.Linear(32, 4)

    def forward(self, tokens):
        return self.out(self.rnn(self.table(tokens))[0])


class Graph(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.out = nn.Linear(8, 64), nn.Linear(64, 3)

    def forward(self, x, edges):
        h = torch.relu(self.a(x))
        return self.out((h + torch.zeros_like(h).index_add(0, edges[1], h[edges[0]])).mean(0, keepdim=True))


class Unrolled(Tagger):
    def forward(self, tokens):
        x = self.table(tokens)
        return torch.stack([self.out(x[:, step] @ x[:, 0].T @ x[:, 0] @ torch.ones(16, 32)) for step in range(x.shape[1])], 1)


def unrolled(): return _set(Unrolled())
def tagger(): return _set(Tagger())
def graph(): return _set(Graph())


class Sentences(torch.utils.data.Dataset):
    def __init__(self, seed):
        random = np.random.default_rng(seed)
        self.rows = [torch.tensor(random.integers(1, 40, random.integers(3, 9))) for _ in range(120)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def padded(rows):
    tokens = pad_sequence(rows, batch_first=True)
    return {"tokens": tokens, "labels": torch.where(tokens > 0, tokens % 4, -100)}


def sentences():
    return {s: torch.utils.data.DataLoader(Sentences(n), 5, collate_fn=padded) for n, s in enumerate(("test", "calibration"))}


def graphs():
    random, found = np.random.default_rng(0), {"test": [], "calibration": []}
    for rows in found.values():
        for size in (6, 9, 7, 6, 12) * 6:
            x = random.normal(0, 1, (size, 8)).astype("float32")
            rows.append({"x": x, "edges": random.integers(0, size, (2, 2 * size)), "y": int(x[:, 0].mean() > 0)})
    return found


def each(outputs, targets):
    keep = targets != -100
    return ((outputs.argmax(-1) == targets) & keep).sum(1) / keep.sum(1)


def of_all(outputs, targets):
    return float((outputs.argmax(-1) == targets)[targets != -100].mean())
"""


def case(
    model: str, data: str, more: str = "", quantizer: str = "quantize: static, engine: onnxruntime"
) -> str:
    return (
        f"model: {{torch: model.py:{model}}}\ndata: model.py:{data}\n{more}\n"
        f"recipe: [{{{quantizer}}}]\nthresholds: {{fidelity: 10}}\n"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(CODE)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "quantizer", ["quantize: static, engine: onnxruntime", "quantize: dynamic, engine: onnxruntime"]
)
def test_batches_that_are_padded_each_for_itself(folder: Path, quantizer: str) -> None:
    found = weigh(folder, case("tagger", "sentences", quantizer=quantizer))
    assert not found.failed, (found.message, found.failed)


def test_a_graph_a_sample(folder: Path) -> None:
    """No input has a batch: nodes and edges are as many as the sample has."""
    found = weigh(folder, case("graph", "graphs", "batch: {x: null, edges: null}"))
    assert not found.failed, (found.message, found.failed)


def test_a_length_that_becomes_a_number_is_told(folder: Path) -> None:
    found = weigh(folder, case("unrolled", "sentences"))
    assert found.message.startswith("export: ")
    assert "'tokens'" in found.message


@pytest.mark.parametrize(
    "step", [pytest.param("quantize: auto", marks=pytest.mark.slow), "quantize: dynamic"]
)
def test_a_metric_of_all_samples_says_what_to_do_where_their_outputs_differ(folder: Path, step: str) -> None:
    text = case("tagger", "sentences", "metric: model.py:of_all", f"{step}, engine: onnxruntime")
    found = weigh(folder, text.replace("fidelity: 10", "relative_accuracy_drop: 0.5"))
    assert "for output, target in zip(outputs, targets)` reads one after the other" in (
        found.message or str(found.failed)
    )


def test_one_of_each_sample_is_judged(folder: Path) -> None:
    text = case("tagger", "sentences", "metric: model.py:each")
    found = weigh(folder, text.replace("fidelity: 10", "relative_accuracy_drop: 0.5"))
    assert not found.failed, (found.message, found.failed)
