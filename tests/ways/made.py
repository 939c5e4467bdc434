"""What a newcomer has, a folder with an ONNX file and an `.npz` of labelled samples, and a trial as it may come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load
from tests.projects import as_onnx, samples, trained

from weighbridge.core.results import CaseResult, Measurement, Status, Verdict
from weighbridge.propose.trials import Trial


def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`model.onnx` and `samples.npz` (400 of them, no calibration split) in `folder`, which becomes the working directory."""
    (folder / "model.onnx").write_bytes(as_onnx(load(trained())))
    x, y = samples(2, 400)
    np.savez(folder / "samples.npz", x=x, y=y)
    monkeypatch.chdir(folder)
    return folder


def wide(path: Path, hidden: int) -> None:
    """A network of one hidden layer, [16, `hidden`] and [`hidden`, 4], untrained."""
    random = np.random.default_rng(0)
    weights = [random.standard_normal(shape).astype("float32") for shape in ((16, hidden), (hidden, 4))]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "0"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "1"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(array, str(index)) for index, array in enumerate(weights)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def trial(name: str, size: float, speed: float | None, lost: float, **changed: Status) -> Trial:
    """A trial of a model of 1,000 bytes, with 100 dB less ten times what it lost of accuracy in points."""
    measurements = {
        "size": Measurement("size", "bytes", size, 1000.0),
        "fidelity": Measurement("fidelity", "dB", 40 - 1000 * lost),
        "accuracy": Measurement("accuracy", "fraction", 0.9 - lost, 0.9, {"n": 1000}),
    }
    if speed is not None:
        details = {"ratio": speed, "interval": [speed - 0.02, speed + 0.02]}
        measurements["speed"] = Measurement("speed", "ms", 1 / speed, 1.0, details)
    drop = Status.PASS if lost <= 0.01 else Status.FAIL
    verdicts = (
        Verdict("accuracy_drop", drop, measured=lost, unit="points"),
        Verdict("round_trip", changed.get("round_trip", Status.PASS)),
    )
    result = CaseResult(name, name, "gate.yaml", 1, Status.PASS, measurements=measurements, verdicts=verdicts)
    return Trial(((f"quantize: {name}",),), result)
