"""Calibration of a residual CNN: memory, seconds and ranges of `quantize: static` beside ONNX Runtime's own, in turn.

python benchmarks/calibration.py [samples ...]

Each way, preparing the file included, runs in a process of its own. Memory is the most that was resident less what was
before the step, in MB. Beyond 800 samples the histograms of ONNX Runtime need more memory than most machines have, so there
it is left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import peak
from tabulate import tabulate

ROOT = Path(__file__).parents[1]
SIDE = 32
METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
SAMPLES = (50, 200, 800, 8000)
MOST_OF_STOCK = 800


class Images:
    """Samples made when they are read, so that only the calibrators hold any."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if index >= self.n:
            raise IndexError
        return np.random.default_rng(index).standard_normal((3, SIDE, SIDE)).astype(np.float32), 0


def network(path: Path) -> None:
    """A residual CNN with 697,000 parameters, untrained: ranges are learned of it all the same."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride, 1),
                nn.ReLU(),
                nn.Conv2d(outputs, outputs, 3, padding=1),
            )
            self.skip = (
                nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()
            )

        def forward(self, x: Any) -> Any:
            return torch.relu(self.body(x) + self.skip(x))

    torch.manual_seed(0)
    body = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU()]
    for inputs, outputs, stride in ((32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)):
        body.append(Block(inputs, outputs, stride))
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)).eval()
    sample = torch.zeros(2, 3, SIDE, SIDE)
    torch.onnx.export(model, (sample,), path, dynamic_shapes=({0: "n"},), external_data=False, verbose=False)


def stock(source: Path, target: Path, method: str, n: int) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    images = Images(n)
    prepared = target.with_name("prepared.onnx")
    quant_pre_process(source, prepared)  # or `quantize_static` warns that it was not done

    class Reader:
        def __init__(self) -> None:
            self.feeds: Iterator[Any] = ({"input": images[index][0][None]} for index in range(n))

        def get_next(self) -> Any:
            return next(self.feeds, None)

    quantize_static(
        prepared,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[METHODS[method]],
    )


def ours(source: Path, target: Path, method: str, n: int) -> None:
    import onnx

    from weighbridge.contracts import Context, Model
    from weighbridge.core.data import Data
    from weighbridge.steps.quantize.onnx_static import StaticOptions, static

    options = StaticOptions(
        operators="all",
        per_channel=False,
        calibration=method,
        samples=n,
        reduce_range=False,
        bias_correction=False,
    )
    context = Context(target.parent, target.parent, 0, Data(splits={"calibration": Images(n)}))
    onnx.save(static(Model("onnx", onnx.load(source)), options, context).value, target)


def once(way: str, folder: str, method: str, n: str) -> None:
    """In its own process: seconds, MB, and every scale by the tensor that it is of."""
    import onnx
    import onnxruntime.quantization.shape_inference  # what importing takes is not what calibrating takes
    import onnxruntime.tools.symbolic_shape_infer  # noqa: F401
    import psutil

    from weighbridge.steps.quantize import onnx_static  # noqa: F401

    target = Path(folder) / f"{way}.onnx"
    before, began = psutil.Process().memory_info().rss, time.monotonic()
    {"stock": stock, "ours": ours}[way](Path(folder) / "float.onnx", target, method, int(n))
    seconds = time.monotonic() - began
    most = peak()
    found = onnx.load(target)
    scales = {
        tensor.name: float(onnx.numpy_helper.to_array(tensor))
        for tensor in found.graph.initializer
        if tensor.name.endswith("_scale") and not tensor.dims
    }
    print(json.dumps({"seconds": seconds, "mb": (most - before) / 1e6, "scales": scales}))


def measured(way: str, folder: Path, method: str, n: int) -> Any:
    command = [sys.executable, __file__, "--once", way, str(folder), method, str(n)]
    done = subprocess.run(command, capture_output=True, text=True, env=None)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def apart(one: dict[str, float], other: dict[str, float]) -> str:
    """The scales of both, and how far the one that differs most is from the other's."""
    common = one.keys() & other.keys()
    return f"{max(abs(one[name] / other[name] - 1) for name in common):.1%} ({len(common)} scales)"


def main(*counts: str) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network(folder / "float.onnx")
        for method in METHODS:
            for n in map(int, counts) if counts else SAMPLES:
                mine = measured("ours", folder, method, n)
                row = [method, n, f"{mine['seconds']:.1f}", f"{mine['mb']:.0f}"]
                if n <= MOST_OF_STOCK:
                    theirs = measured("stock", folder, method, n)
                    ratio = mine["seconds"] / theirs["seconds"]
                    row += [
                        f"{theirs['seconds']:.1f}",
                        f"{theirs['mb']:.0f}",
                        f"{ratio:.2f}",
                        apart(mine["scales"], theirs["scales"]),
                    ]
                rows.append(row)
                print(*row, flush=True, file=sys.stderr)
    heads = (
        "method",
        "samples",
        "ours s",
        "MB",
        "ONNX Runtime s",
        "MB",
        "ratio of s",
        "scales apart by at most",
    )
    print(tabulate(rows, heads, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    once(*sys.argv[2:]) if sys.argv[1:2] == ["--once"] else main(*sys.argv[1:])
