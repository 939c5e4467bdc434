"""ONNX Runtime on what a case names, and on nothing else."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from weighbridge.core.errors import StageError
from weighbridge.engines.onnxruntime import OnnxRuntimeSession


@pytest.fixture
def doubled(tmp_path: Path) -> str:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [x], [y])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, tmp_path / "net.onnx")
    return str(tmp_path / "net.onnx")


def test_a_provider_that_cannot_start_is_not_replaced_by_another(
    doubled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CUDA's without its driver: ONNX Runtime lists it, warns, and computes on the CPU."""
    absent = next(name for name in ort.get_all_providers() if name not in ort.get_available_providers())
    monkeypatch.setattr(ort, "get_available_providers", ort.get_all_providers)
    with warnings.catch_warnings(action="ignore"), pytest.raises(StageError) as error:
        OnnxRuntimeSession(doubled, provider=absent)
    assert f"has '{absent}' and could not start it" in str(error.value)
    assert "went on with CPUExecutionProvider" in str(error.value)


def test_one_that_starts_serves(doubled: str) -> None:
    assert OnnxRuntimeSession(doubled).session.get_providers() == ["CPUExecutionProvider"]
