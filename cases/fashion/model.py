"""A small residual network for Fashion-MNIST, and Debian's copy of the images."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]

FOLDER = Path("/usr/share/datasets/fashion-mnist")
CALIBRATION, TEST = 256, 3000


class Block(nn.Module):
    """Two convolutions with batch normalization, added to their input; a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.skip = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


def resnet() -> nn.Module:
    """Input [N, 1, 28, 28] in [0, 1], output [N, 10]."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Block(16, 16, 1),
        Block(16, 32, 2),
        Block(32, 32, 1),
        Block(32, 64, 2),
        Block(64, 64, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def clothes() -> dict[str, Callable[[], Samples]]:
    """`test` is from the official test images; `calibration` and `train` share no image."""
    return {
        "train": lambda: _part("train", slice(CALIBRATION, None)),
        "calibration": lambda: _part("train", slice(None, CALIBRATION)),
        "test": lambda: _part("t10k", slice(None, TEST)),
    }


def _part(name: str, which: slice) -> Samples:
    images, labels = _read(f"{name}-images-idx3-ubyte.gz"), _read(f"{name}-labels-idx1-ubyte.gz")
    return images[which, None].astype(np.float32) / 255, labels[which].astype(np.int64)


@cache
def _read(name: str) -> NDArray[np.uint8]:
    """An IDX file: two zero bytes, the type (8 is uint8), the number of axes, each axis in four bytes, the data."""
    raw = gzip.decompress((FOLDER / name).read_bytes())
    axes = raw[3]
    shape = np.frombuffer(raw, ">u4", axes, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)
