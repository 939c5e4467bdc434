"""What artifacts are made from, for everybody alike, and the scales that they all go on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from common import open_session
from peers_models import ROOT, Subject, least_times

from weighbridge.contracts import Context, Model
from weighbridge.convert.to_onnx import export
from weighbridge.core.data import Data
from weighbridge.core.signal_to_noise import SignalToNoise
from weighbridge.measure.metrics import find_metric

Cell = dict[str, Any]
"""What is known of one artifact; `failed` where there is none."""


def prepare(subject: Subject, folder: Path) -> None:
    """Writes the float model and the splits. Raises `ModuleNotFoundError` where its package is absent, `FileNotFoundError`
    where its data is.
    """
    splits = {name: part() if callable(part) else part for name, part in subject.called(subject.data).items()}
    for name in ("calibration", "test"):
        inputs, targets = splits[name]
        np.savez(folder / f"{name}.npz", x=inputs, y=targets)
    target = folder / "float.onnx"
    if not subject.torch:
        shutil.copy(subject.called(subject.model), target)
        return
    context = Context(folder, folder, 0, Data(splits))
    onnx.save(export(Model("torch", subject.module()), context).value, target)


def weighed(subject: Subject, folder: Path, cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """The cells with right answers, fidelity and speed, the float file's first. All ONNX files are timed in turn."""
    with np.load(folder / "test.npz") as kept:
        test, targets = kept["x"], kept["y"]
    metric = find_metric(subject.metric, ROOT)

    def right(outputs: Any) -> int:
        scores = metric.per_sample((outputs,), targets)
        assert scores is not None
        return int(scores.sum())

    original = folder / "float.onnx"
    reference = _outputs(original, test)
    counted = {"bytes": original.stat().st_size, "right": right(reference), "of": len(targets)}
    found: dict[str, Cell] = {"float": counted}
    files = {"float": original}
    for route, cell in cells.items():
        found[route] = cell
        if "failed" in cell:
            continue
        kept_outputs = cell["file"].with_suffix(".npy")
        try:
            outputs = np.load(kept_outputs) if kept_outputs.exists() else _outputs(cell["file"], test)
        except Exception as error:
            found[route] = {"failed": f"made, but does not run: {' '.join(str(error).split())}"}
            continue
        noise = SignalToNoise()
        noise.add([reference], [outputs])
        found[route] = cell | {
            "right": right(outputs),
            "of": len(targets),
            "fidelity": noise.worst(),
        }
        if not kept_outputs.exists():
            files[route] = cell["file"]
    times = least_times(lambda: {route: _session(file) for route, file in files.items()}, test)
    for route in files:
        found[route] |= {"times": times[route], "against": times["float"]}
    return found


def _outputs(file: Path, inputs: Any) -> Any:
    call = _session(file)
    return np.concatenate([call(inputs[start : start + 8]) for start in range(0, len(inputs), 8)])


def _session(file: Path) -> Callable[[Any], Any]:
    """On one thread; gives the first output."""
    session = open_session(file)
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]
