"""Small torch modules for tests, and a step applied to one."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from weighbridge.contracts import STEPS, Context, Model
from weighbridge.core.data import Data


def apply(
    key: str, module: nn.Module, folder: Path, splits: Any = None, source: Any = None, **options: Any
) -> Model:
    step = STEPS.get(key)
    context = Context(folder, folder, 0, Data(splits=splits or {}))
    return step.apply(Model("torch", module, source or {}), step.options.model_validate(options), context)


def mlp(*sizes: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def split(n: int = 640) -> Any:
    """A split `train` of `n` samples [12], whose class is the largest of their first three numbers."""
    x = np.random.default_rng(0).normal(0, 1, (n, 12)).astype("f4")
    return {"train": (x, x[:, :3].argmax(1))}


def written(folder: Path, code: str) -> None:
    (folder / "model.py").write_text(f"import torch\nfrom torch import nn\n\n{code}")
