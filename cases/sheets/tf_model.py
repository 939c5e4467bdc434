"""What the TensorFlow halves of the two cheat sheets work on: small Keras models, and digits to train them with."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]


def dense() -> Any:
    """Two Dense layers in Keras 3, which is what `tf.keras` is today; input [N, 64], output [N, 10]."""
    import keras

    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(128, activation="relu", name="hidden"),
            keras.layers.Dense(10, name="scores"),
        ]
    )


def dense_tf_keras() -> Any:
    """The same in tf_keras (Keras 2), which is what tfmot changes."""
    import tf_keras

    return tf_keras.Sequential(
        [
            tf_keras.Input((64,)),
            tf_keras.layers.Dense(128, activation="relu", name="hidden"),
            tf_keras.layers.Dense(10, name="scores"),
        ]
    )


@cache
def digits() -> dict[str, Samples]:
    """scikit-learn's 1,797 digits as rows of 64 grey values in [0, 1]: 60 % train, 40 % test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = (bunch.data / 16.0).astype(np.float32), bunch.target.astype(np.int64)
    train, test = np.split(np.random.default_rng(0).permutation(len(labels)), [round(0.6 * len(labels))])
    return {name: (images[part], labels[part]) for name, part in (("train", train), ("test", test))}
