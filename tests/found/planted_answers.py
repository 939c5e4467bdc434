"""Models that answer as planted, and the verdicts on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from tests.projects import weigh

from weighbridge.core.results import Verdict

CLASSES = 4
DATA = "data: samples.npz\ntargets: labels\n"


def identity(path: Path, name: str) -> None:
    """A model that says what it is given under `name`."""
    shape = ["n", CLASSES]
    tensors = [
        helper.make_tensor_value_info(one, TensorProto.FLOAT, shape)
        for one in ("baseline", "candidate", "answer")
    ]
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], ["answer"])], "g", tensors[:2], tensors[2:]
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=opsets), path)


def planted(folder: Path, baseline: Any, candidate: Any, **columns: Any) -> None:
    """Two models of which `baseline` and `candidate`, booleans of shape [N], say where they are right."""
    random, n = np.random.default_rng(0), len(baseline)
    labels = random.integers(0, CLASSES, n)
    said = {
        name: np.eye(CLASSES, dtype="float32")[np.where(right, labels, (labels + 1) % CLASSES)]
        for name, right in (("baseline", baseline), ("candidate", candidate))
    }
    np.savez(folder / "samples.npz", labels=labels, **said, **columns)
    for name in said:
        identity(folder / f"{name}.onnx", name)


def case(thresholds: str, more: str = "") -> str:
    return (
        f"model: {{onnx: baseline.onnx}}\ncandidate: {{onnx: candidate.onnx}}\n{DATA}{more}"
        f"thresholds: {{{thresholds}}}\n"
    )


def judged(folder: Path, thresholds: str, more: str = "", **options: Any) -> dict[str, Verdict]:
    result = weigh(folder, case(thresholds, more), also=(), **options).result
    assert result.stage == "done", result.message
    return {verdict.threshold: verdict for verdict in result.verdicts}


def right(n: int, wrong: slice) -> Any:
    found = np.ones(n, dtype=bool)
    found[wrong] = False
    return found
