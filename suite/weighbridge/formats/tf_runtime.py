"""TensorFlow, Keras and tfmot, imported where a case needs them and silenced."""

from __future__ import annotations

import os
from typing import Any

from weighbridge.environment.extras import TENSORFLOW, TF_KERAS, TFMOT, load
from weighbridge.environment.quiet import quiet


def silence() -> None:
    """Ask TensorFlow's C++ code to log errors only; it reads this once, when it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def tensorflow() -> Any:
    """The package `tensorflow`; raises `Unavailable` with the version found and needed."""
    silence()
    with quiet():
        return load(TENSORFLOW, needs=("lite", "saved_model"))


def keras() -> Any:
    """Keras 3, which TensorFlow brings."""
    tensorflow()
    with quiet():
        return load(TENSORFLOW, "keras")


def tf_keras() -> Any:
    """Keras 2, the generation that tfmot can change."""
    tensorflow()
    with quiet():
        return load(TF_KERAS)


def restart_names() -> None:
    """Let unnamed layers be called `conv2d` again, and not `conv2d_1`: weights are found by those names."""
    keras().utils.clear_session(free_memory=False)
    tf_keras().backend.reset_uids()


def tfmot() -> Any:
    """The TensorFlow Model Optimization toolkit; raises `Unavailable` with the version found and needed."""
    tf_keras()
    with quiet():
        return load(TFMOT, needs=("sparsity", "clustering", "quantization"))
