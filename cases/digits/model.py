"""A CNN, an MLP and an LSTM for scikit-learn's handwritten digits, and the digits themselves."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]

TRAIN, CALIBRATION, TEST = 0.5, 0.1, 0.4


def cnn() -> nn.Module:
    """Two convolutions and two linear layers; input [N, 1, 8, 8], output [N, 10]."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def mlp() -> nn.Module:
    """Three linear layers; input [N, 1, 8, 8], output [N, 10]."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 384),
        nn.ReLU(),
        nn.Linear(384, 384),
        nn.ReLU(),
        nn.Linear(384, 10),
    )


class Rows(nn.Module):
    """Reads an image row by row. Input [N, 1, 8, 8], output [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 128, batch_first=True, bidirectional=True)
        self.head = nn.Linear(256, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(images.squeeze(1))
        answers: torch.Tensor = self.head(states.mean(1))
        return answers


def rows() -> nn.Module:
    return Rows()


@cache
def digits() -> dict[str, Samples]:
    """1,797 digits of 8x8 grey values in [0, 1], split within each class, the same way every time."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)[:, None]
    labels = bunch.target.astype(np.int64)
    random = np.random.default_rng(0)
    parts: dict[str, list[NDArray[np.int64]]] = {"train": [], "calibration": [], "test": []}
    for label in range(10):
        members = random.permutation(np.flatnonzero(labels == label))
        first, second = round(TRAIN * len(members)), round((TRAIN + CALIBRATION) * len(members))
        for name, part in zip(parts, np.split(members, [first, second]), strict=True):
            parts[name].append(part)
    splits = {name: np.sort(np.concatenate(chosen)) for name, chosen in parts.items()}
    return {name: (images[chosen], labels[chosen]) for name, chosen in splits.items()}


def train(module: nn.Module, samples: Samples, epochs: int, batch_size: int = 32, lr: float = 2e-3) -> None:
    """Adam with a cosine schedule; draws from torch's global generator, so seed it first."""
    inputs, targets = (torch.from_numpy(array) for array in samples)
    steps = epochs * -(-len(inputs) // batch_size)
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    module.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs)).split(batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(inputs[batch]), targets[batch]).backward()
            optimizer.step()
            schedule.step()
    module.eval()
