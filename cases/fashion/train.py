"""Trains the network and writes its weights: `python cases/fashion/train.py`, some minutes on one core."""

from __future__ import annotations

from pathlib import Path

import torch
from model import clothes, resnet
from safetensors.torch import save_file
from torch import nn

SEED, EPOCHS, BATCH, LR = 0, 4, 128, 4e-3


def main() -> None:
    torch.set_num_threads(1)  # sums in another order give other weights
    torch.manual_seed(SEED)
    module = resnet()
    inputs, targets = (torch.from_numpy(array) for array in clothes()["train"]())
    optimizer = torch.optim.AdamW(module.parameters(), lr=LR, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LR, total_steps=EPOCHS * -(-len(inputs) // BATCH)
    )
    for epoch in range(EPOCHS):
        module.train()
        for batch in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(inputs[batch]), targets[batch]).backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: test accuracy {accuracy(module):.4f}", flush=True)
    save_file(module.eval().state_dict(), Path(__file__).parent / "resnet.safetensors")


@torch.no_grad()
def accuracy(module: nn.Module) -> float:
    module.eval()
    inputs, targets = (torch.from_numpy(array) for array in clothes()["test"]())
    return float((module(inputs).argmax(1) == targets).float().mean())


if __name__ == "__main__":
    main()
