"""One small CNN in torch and in Keras, and scikit-learn's handwritten digits in the layout of each."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]


def torch_cnn() -> Any:
    """Three convolutions and two linear layers; input [N, 1, 8, 8], output [N, 10]."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def keras_cnn() -> Any:
    """The same network in Keras 3; input [N, 8, 8, 1], output [N, 10]."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="conv1"),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(name="pool"),
            layers.Conv2D(64, 3, padding="same", activation="relu", name="conv3"),
            layers.Flatten(name="flatten"),
            layers.Dense(64, activation="relu", name="dense1"),
            layers.Dense(10, name="dense2"),
        ],
        name="cnn",
    )


def channels_first() -> dict[str, Samples]:
    """The digits as torch wants them, [N, 1, 8, 8]."""
    return {name: (images[:, None], labels) for name, (images, labels) in _digits().items()}


def channels_last() -> dict[str, Samples]:
    """The digits as Keras wants them, [N, 8, 8, 1]."""
    return {name: (images[..., None], labels) for name, (images, labels) in _digits().items()}


@cache
def _digits() -> dict[str, Samples]:
    """1,797 digits of 8x8 grey values in [0, 1], shuffled once: 50 % train, 10 % calibration, 40 % test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = (bunch.images / 16.0).astype(np.float32), bunch.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    bounds = [round(0.5 * len(order)), round(0.6 * len(order))]
    parts = zip(("train", "calibration", "test"), np.split(order, bounds), strict=True)
    return {name: (images[part], labels[part]) for name, part in parts}
