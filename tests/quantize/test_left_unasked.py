"""`round_trip` and the layers in float: those that the step tells why are right, any other is a finding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from tests.found.onnx_graphs import model, node, weight
from tests.projects import report_of

from weighbridge.contracts import Model
from weighbridge.steps.quantize.onnx_static import Static

DATA = """
import numpy as np
def splits():
    random = np.random.default_rng(1)
    return {name: ((random.standard_normal((64, 4, 8, 16)).astype("f4"),), None) for name in ("test", "calibration")}
"""


def network() -> Model:
    """A light product, two heavy ones of which no weight has a name of its own, and one that has no integer kernel."""
    weights = {
        "onnx::MatMul_1": weight(16, 2),
        "onnx::MatMul_2": weight(2, 512),
        "onnx::MatMul_3": weight(512, 16),
        "onnx::MatMul_4": weight(4, 16, 16),
    }
    names = [f"/{name}/MatMul" for name in ("light", "wide", "narrow", "many")]
    tensors = ["x", "a", "b", "c", "y"]
    nodes: list[Any] = [
        node("MatMul", f"{tensors[at]} {stored}", tensors[at + 1], names[at])
        for at, stored in enumerate(weights)
    ]
    return model(nodes, weights, ["n", 4, 8, 16])


def round_trip(pytester: pytest.Pytester, options: str = "") -> dict[str, Any]:
    folder = pytester.mkdir("cases")
    onnx.save(network().value, folder / "net.onnx")
    (folder / "data.py").write_text(DATA)
    (folder / "net.yaml").write_text(
        "model: {onnx: net.onnx}\ndata: data.py:splits\nthresholds: {fidelity: 15}\n"
        f"recipe: [{{quantize: static, reduce_range: true{options}}}]\n"
    )
    pytester.runpytest_inprocess()
    (row,) = report_of(pytester.path)["rows"]
    return {verdict["threshold"]: verdict for verdict in row["verdicts"]}["round_trip"]


@pytest.mark.parametrize("options", ["", ", exclude: [/wide/MatMul]", ", layers: [/narrow/*]"])
def test_what_stays_on_purpose_is_no_finding(pytester: pytest.Pytester, options: str) -> None:
    assert round_trip(pytester, options)["status"] == "pass"


def test_what_stays_without_a_reason_is_one_beside_such_layers(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Static.write

    def careless(self: Static, source: Path, target: Path, nodes: Sequence[str]) -> None:
        honest(self, source, target, [name for name in nodes if "narrow" not in name])

    monkeypatch.setattr(Static, "write", careless)
    found = round_trip(pytester)
    assert found["status"] == "fail"
    assert "'onnx::MatMul_3' of a MatMul is left in float, as no other one is" in found["message"]
    assert "onnx::MatMul_1" not in found["message"]
