"""Fine-tuning on data as it comes: a last batch of one, loaders, and labels in several types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.projects import weigh

MODEL = """
import numpy as np
import torch
from torch import nn


def network():
    torch.manual_seed(12)
    return nn.Sequential(nn.Linear(12, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))


def samples(n, seed):
    x = np.random.default_rng(seed).normal(0, 1, (n, 12)).astype("f4")
    return x, x[:, :3].argmax(1)


class Set(torch.utils.data.Dataset):
    def __init__(self, n): self.x, self.y = samples(n, 1)
    def __len__(self): return len(self.y)
    def __getitem__(self, i): return self.x[i], int(self.y[i])


class Rows(Set):
    def __getitem__(self, i): return {"input": self.x[i], "labels": int(self.y[i])}


x, y = samples(N, 1)
Loader = torch.utils.data.DataLoader
def splits(): return {"train": TRAIN, "test": samples(300, 2)}
"""
CASE = """
model: {torch: model.py:network}
data: model.py:splits
allow_chance: true
recipe: [{finetune: {epochs: 3, lr: 0.01}}]
thresholds: {accuracy: 0.3}
"""


def outcome(folder: Path, train: str, n: int = 129) -> Any:
    (folder / "model.py").write_text(MODEL.replace("TRAIN", train).replace("(N,", f"({n},"))
    return weigh(folder, CASE)


@pytest.mark.parametrize(
    "train",
    [
        "(x, y)",
        "(x.astype('f8'), y.astype('i4'))",
        "(x, y[:, None])",
        "(x, y.astype('f4'))",
        "(x, np.eye(3, dtype='f8')[y])",
        "Set(129)",
        "Rows(129)",
        "Loader(Set(129), 64, shuffle=True, drop_last=True)",
        "Loader(Set(129), 43)",
        "Loader(Set(129), 64)",
        "[(x[:60], y[:60]), (x[60:], y[60:])]",
        "zip(x, y)",
    ],
)
def test_it_is_trained(tmp_path: Path, train: str) -> None:
    found = outcome(tmp_path, train)
    assert not found.failed, found.message
    assert found.measurements["accuracy"].candidate > found.measurements["accuracy"].baseline + 0.1


def test_a_batch_of_one_that_nobody_can_join(tmp_path: Path) -> None:
    said = outcome(tmp_path, "(x[:1], y[:1])").message
    assert (
        "a batch of one sample cannot be trained on, as with batch normalization: choose another `batch_size`"
        in said
    )


def test_nan_in_the_training_data_is_told(tmp_path: Path) -> None:
    said = outcome(tmp_path, "(np.where(np.arange(129)[:, None] == 5, np.nan, x), y)").message
    assert "1 samples of the batch hold NaN or infinity" in said


def test_samples_of_another_shape(tmp_path: Path) -> None:
    said = outcome(tmp_path, "(x[:, :11], y)").message
    assert "finetune: input 0 float32 [64, 11]" in said
    assert "does not go through the model" in said
