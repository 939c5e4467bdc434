"""Train the network of model.py: `python train.py`, 10 s."""

from __future__ import annotations

from pathlib import Path

import torch
from model import cnn, digits
from safetensors.torch import save_file

SEED, EPOCHS, BATCH = 0, 40, 32

torch.manual_seed(SEED)
module = cnn()
images, labels = (torch.from_numpy(array) for array in digits()["train"])
optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3, weight_decay=1e-2)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
for _ in range(EPOCHS):
    for batch in torch.randperm(len(images)).split(BATCH):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(images[batch]), labels[batch]).backward()
        optimizer.step()
    schedule.step()
save_file(module.state_dict(), Path(__file__).parent / "cnn.safetensors")
images, labels = (torch.from_numpy(array) for array in digits()["test"])
print(f"{float((module(images).argmax(1) == labels).float().mean()):.4f} on the test split")
