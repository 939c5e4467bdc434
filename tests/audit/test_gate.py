"""An audit is a gate: nothing that is no proof of a kept budget ends in 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from weighbridge.cli.main import main


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A released model of about 4 kB."""
    monkeypatch.chdir(tmp_path)
    weight = numpy_helper.from_array(np.ones((16, 64), "float32"), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])],
        [weight],
    )
    path = tmp_path / "model.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=opsets), path)
    return path


def audited(budget: str) -> int:
    Path("budget.yaml").write_text(budget)
    return main(["audit", "model.onnx", "--budget", "budget.yaml"])


def test_a_strict_xfail_that_passes_is_a_breach(model: Path) -> None:
    assert audited("thresholds: {size: 5 MB}\nxfail: {size: too large still}\n") == 1


def test_a_record_of_a_breach_is_no_licence_to_ship(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audited("thresholds: {size: 1 kB}\n") == 1
    arguments = ["verify", "reports/audit.intoto.json", "model.onnx"]
    assert main(arguments) == 1
    assert "no licence to ship" in capsys.readouterr().out
    assert main([*arguments, "--allow-breach"]) == 0


def test_a_record_of_a_kept_budget_is_one(model: Path) -> None:
    assert audited("thresholds: {size: 5 MB}\n") == 0
    assert main(["verify", "reports/audit.intoto.json", "model.onnx"]) == 0


@pytest.mark.worker
def test_a_file_that_crashes_its_reader_costs_its_own_row(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The crash is planted in the data callable: it runs in the same worker as the engine's native readers."""
    Path("data.py").write_text("import ctypes\n\n\ndef data():\n    ctypes.string_at(0)\n")
    Path("second.onnx").write_bytes(model.read_bytes())
    budget = "thresholds: {size: 5 MB}\n"
    Path("budget.yaml").write_text(f"{budget}data: data.py:data\n")
    assert main(["audit", "model.onnx", "second.onnx", "--budget", "budget.yaml"]) == 2
    assert "SIGSEGV" in capsys.readouterr().out
    assert Path("reports/audit.intoto.json").is_file()
