"""Train the two networks of model.py: `python train.py torch` (5 s) and `python train.py keras` (20 s)."""

from __future__ import annotations

import sys
from pathlib import Path

import model
import numpy as np

HERE = Path(__file__).parent
SEED, EPOCHS, BATCH = 0, 40, 32


def train_torch() -> None:
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(SEED)
    module = model.torch_cnn()
    images, labels = (torch.from_numpy(array) for array in model.channels_first()["train"])
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(images[batch]), labels[batch]).backward()
            optimizer.step()
        schedule.step()
    save_file(module.state_dict(), HERE / "torch_cnn.safetensors")
    images, labels = (torch.from_numpy(array) for array in model.channels_first()["test"])
    print(f"torch: {float((module(images).argmax(1) == labels).float().mean()):.4f} on the test split")


def train_keras() -> None:
    import keras
    from safetensors.numpy import save_file

    keras.utils.set_random_seed(SEED)
    network = model.keras_cnn()
    images, labels = model.channels_last()["train"]
    steps = EPOCHS * -(-len(images) // BATCH)
    network.compile(
        optimizer=keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(2e-3, steps), weight_decay=1e-2
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    network.fit(images, labels, epochs=EPOCHS, batch_size=BATCH, verbose=0)
    weights = {
        f"{layer.name}/{weight.name}": np.asarray(weight)
        for layer in network.layers
        for weight in layer.weights
    }
    save_file(weights, HERE / "keras_cnn.safetensors")
    images, labels = model.channels_last()["test"]
    print(
        f"keras: {float((network.predict(images, verbose=0).argmax(1) == labels).mean()):.4f} on the test split"
    )


if __name__ == "__main__":
    {"torch": train_torch, "keras": train_keras}[sys.argv[1]]()
