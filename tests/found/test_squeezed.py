"""A model whose last layer squeezes: of one sample alone its answer has no axis of the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.found.onnx_graphs import model, node, weight
from tests.projects import weigh

CODE = """
import numpy as np

x = np.random.default_rng(3).standard_normal((65, 8)).astype("float32")
y = np.load("target.npy")


def both(split): return {"test": split, "calibration": split}
def arrays(): return both((x, y))
def batches(): return both([(x[:64], y[:64]), (x[64:], y[64:])])
def samples(): return both(list(zip(x, y)))
def ones(): return both([(x[i : i + 1], y[i : i + 1]) for i in range(65)])
def error(outputs, targets): return -float(np.abs(outputs - targets).mean())
"""


@pytest.mark.parametrize("data", ["arrays", "batches", "samples", "ones"])
@pytest.mark.parametrize("method", ["static", "auto"])
def test_a_sample_that_is_left_over_is_no_batch_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, method: str
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = {"up": weight(8, 64), "down": weight(64, 1)}
    nodes = [
        node("MatMul", "x up", "a", "first"),
        node("Relu", "a", "b", "act"),
        node("MatMul", "b down", "c", "last"),
        node("Squeeze", "c", "y", "squeeze"),
    ]
    onnx.save(model(nodes, weights, ["n", 8]).value, tmp_path / "net.onnx")
    x = np.random.default_rng(3).standard_normal((65, 8)).astype(np.float32)
    np.save("target.npy", (np.maximum(x @ weights["up"], 0) @ weights["down"])[:, 0])
    (tmp_path / "data.py").write_text(CODE)
    found = weigh(
        tmp_path,
        f"model: {{onnx: net.onnx}}\ndata: data.py:{data}\nmetric: data.py:error\n"
        f"recipe: [{{quantize: {method}, engine: onnxruntime, reduce_range: true}}]\n"
        "thresholds: {accuracy_drop: 0.2, fidelity: 20}\n",
    )
    assert not found.failed, (found.message, found.failed)
    accuracy = found.measurements["accuracy"]
    assert accuracy.details["n"] == found.measurements["fidelity"].details["samples"] == 65
    assert accuracy.baseline == pytest.approx(0, abs=1e-5)
