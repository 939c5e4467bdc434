"""Half of the channels of four public networks: how much faster are they really, beside what others publish?

python benchmarks/structured.py --site FOLDER [--rounds N] [--networks NAME ...]

FOLDER holds torchvision (`pip install --no-deps --target FOLDER torchvision`). Weights are random, as in the published
figures; torch's eager mode, one thread, calls of both in turn, the ratio of the least times and of the medians.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from weighbridge.contracts import STEPS, Context, Model
from weighbridge.core.data import Data

PUBLISHED = {"resnet50": 1.88, "vgg19_bn": 2.16, "mobilenet_v3_large": 1.04, "mnasnet1_0": 0.96}
"""EIDOSLAB/simplify: times faster with half of the channels at random weights."""
SIDE = 224
BATCHES = (1, 8)


def networks(site: Path) -> Any:
    """torchvision's models. Its compiled operators may be built for another torch; the models are plain Python."""
    sys.path.insert(0, str(site))
    for name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    return importlib.import_module("torchvision.models")


def halved(module: torch.nn.Module, folder: Path) -> torch.nn.Module:
    step = STEPS.get("prune:channels")
    x = np.random.default_rng(0).standard_normal((2, 3, SIDE, SIDE)).astype(np.float32)
    context = Context(folder, folder, 0, Data(splits={"test": (x, np.zeros(2, int))}))
    made: torch.nn.Module = step.apply(Model("torch", module), step.options(), context).value
    return made


def times(modules: list[torch.nn.Module], batch: int, rounds: int) -> list[list[float]]:
    x = torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    taken: list[list[float]] = [[] for _ in modules]
    with torch.inference_mode():
        for number in range(rounds + 1):
            for module, found in zip(modules, taken, strict=True):
                began = time.perf_counter()
                module(x)
                if number:
                    found.append(1000 * (time.perf_counter() - began))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--site", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--networks", nargs="+", choices=PUBLISHED, default=list(PUBLISHED), metavar="NAME")
    asked = parser.parse_args()
    models = networks(asked.site)
    torch.set_num_threads(1)
    rows = []
    for name in asked.networks:
        torch.manual_seed(0)
        module, began = getattr(models, name)(weights=None).eval(), time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            half = halved(module, Path(folder)).eval()
        seconds = time.monotonic() - began
        sizes = [sum(each.numel() for each in one.parameters()) for one in (module, half)]
        for batch in BATCHES:
            before, after = times([module, half], batch, asked.rounds)
            rows.append([name, f"{sizes[0] / 1e6:.2f} M", f"{sizes[1] / 1e6:.2f} M", batch, f"{statistics.median(before):.1f}",
                         f"{statistics.median(after):.1f}", f"{min(before) / min(after):.2f}x",
                         f"{statistics.median(before) / statistics.median(after):.2f}x", f"{PUBLISHED[name]}x",
                         f"{seconds:.0f}"])  # fmt: skip
            print(*rows[-1], file=sys.stderr, flush=True)
    heads = (
        "network",
        "parameters",
        "after",
        "batch",
        "ms",
        "after",
        "least times",
        "medians",
        "published",
        "s to prune",
    )
    print(tabulate(rows, heads, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
