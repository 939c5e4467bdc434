"""Layers of torch as rows of what each output reads, and what a pattern leaves of such rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

CONVOLUTIONS = [
    nn.Conv2d(8, 12, 3),
    nn.Conv2d(16, 12, 3, groups=2),
    nn.Conv1d(8, 4, 5),
    nn.ConvTranspose2d(8, 12, 3),
    nn.ConvTranspose2d(16, 12, 2, groups=2),
]


def by_output(layer: Any) -> Any:
    """The weight as [outputs, inputs that each reads, positions], for every group of a convolution."""
    array = layer.weight.detach().double().numpy()
    if not getattr(layer, "transposed", False):
        return array.reshape(*array.shape[:2], -1)
    groups = np.split(array, layer.groups)
    return np.concatenate([part.swapaxes(0, 1) for part in groups]).reshape(
        layer.out_channels, layer.in_channels // layer.groups, -1
    )


def assert_n_m(before: Any, after: Any, n: int, m: int) -> None:
    """Along the second axis the n largest of m stay, as they were."""
    for output in range(before.shape[0]):
        for place in range(before.shape[2]):
            for start in range(0, before.shape[1], m):
                old, new = before[output, start : start + m, place], after[output, start : start + m, place]
                kept = np.sort(np.argsort(-np.abs(old))[:n])
                assert np.flatnonzero(new).tolist() == kept.tolist()
                assert (new[kept] == old[kept]).all()
