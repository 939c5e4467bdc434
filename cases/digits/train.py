"""Trains the models and writes their weights: `python cases/digits/train.py`, some seconds."""

from __future__ import annotations

from pathlib import Path

import torch
from model import cnn, digits, mlp, rows, train
from safetensors.torch import save_file

HERE = Path(__file__).parent
SEED = 0


def main() -> None:
    torch.set_num_threads(1)  # sums in another order give other weights
    splits = digits()
    for build in (cnn, mlp, rows):
        torch.manual_seed(SEED)
        module = build()
        train(module, splits["train"], epochs=30)
        save_file(module.state_dict(), HERE / f"{build.__name__}.safetensors")
        inputs, targets = (torch.from_numpy(array) for array in splits["test"])
        accuracy = (module(inputs).argmax(1) == targets).float().mean()
        print(f"{build.__name__}: test accuracy {accuracy:.4f} on {len(targets)} digits")


if __name__ == "__main__":
    main()
