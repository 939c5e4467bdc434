"""The models of the cheat sheets' snippets, and a small classifier of real digits to see what a step costs."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]


def linear() -> nn.Module:
    """`nn.Linear(10, 5)`, with the same weights at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(10, 5)


def sequential() -> nn.Module:
    """A Linear inside a container: what `model[0]` means in the snippets. 5,000 weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(100, 50))


def classifier() -> nn.Module:
    """Input [N, 64], output [N, 10]; 85,504 weights."""
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


def wide() -> nn.Module:
    """Three layers of a thousand, untrained: for speed and size, which do not ask what the weights are."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(3)))


@cache
def digits() -> dict[str, Samples]:
    """scikit-learn's 1,797 handwritten digits, 64 grey values in [0, 1] each: 900 to train on, the rest to test."""
    from sklearn.datasets import load_digits

    inputs, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(targets))
    inputs, targets = (inputs[order] / 16).astype(np.float32), targets[order].astype(np.int64)
    return {"train": (inputs[:900], targets[:900]), "test": (inputs[900:], targets[900:])}
