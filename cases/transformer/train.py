"""Trains the encoder and writes its weights: `python cases/transformer/train.py`, half a minute."""

from __future__ import annotations

import runpy
from pathlib import Path

import torch
from model import encoder
from safetensors.torch import save_file

HERE = Path(__file__).parent
SEED = 0


def main() -> None:
    torch.set_num_threads(1)  # sums in another order give other weights
    shared = runpy.run_path(str(HERE.parent / "digits" / "model.py"))  # a module of this one's name
    splits = shared["digits"]()
    torch.manual_seed(SEED)
    module = encoder()
    shared["train"](module, splits["train"], epochs=40)
    save_file(module.state_dict(), HERE / "encoder.safetensors")
    inputs, targets = (torch.from_numpy(array) for array in splits["test"])
    accuracy = (module(inputs).argmax(1) == targets).float().mean()
    print(f"test accuracy {accuracy:.4f} on {len(targets)} digits")


if __name__ == "__main__":
    main()
