"""One CNN that torch, ONNX Runtime and LiteRT all run, and scikit-learn's handwritten digits."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from torch import nn

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]


def cnn() -> nn.Module:
    """Two convolutions and three linear layers; input [N, 1, 8, 8], output [N, 10]."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 256),
        nn.ReLU(),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


@cache
def digits() -> dict[str, Samples]:
    """1,797 digits of 8x8 grey values in [0, 1], shuffled once: 50 % train, 10 % calibration, 40 % test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = (bunch.images / 16.0).astype(np.float32)[:, None], bunch.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    bounds = [round(0.5 * len(order)), round(0.6 * len(order))]
    parts = zip(("train", "calibration", "test"), np.split(order, bounds), strict=True)
    return {name: (images[part], labels[part]) for name, part in parts}
