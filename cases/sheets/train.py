"""Trains the classifier and writes its weights: `python cases/sheets/train.py`, some seconds."""

from __future__ import annotations

from pathlib import Path

import torch
from model import classifier, digits
from safetensors.torch import save_file
from torch import nn

SEED, EPOCHS, BATCH = 0, 40, 32


def main() -> None:
    torch.set_num_threads(1)  # sums in another order give other weights
    torch.manual_seed(SEED)
    module = classifier()
    inputs, targets = (torch.from_numpy(array) for array in digits()["train"])
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(inputs[batch]), targets[batch]).backward()
            optimizer.step()
    save_file(module.state_dict(), Path(__file__).parent / "classifier.safetensors")
    inputs, targets = (torch.from_numpy(array) for array in digits()["test"])
    print(
        f"test accuracy {(module(inputs).argmax(1) == targets).float().mean():.4f} on {len(targets)} digits"
    )


if __name__ == "__main__":
    main()
