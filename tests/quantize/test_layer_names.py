"""A dense layer goes by the name that its author gave it, where the exporter kept that for its bias alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.found.onnx_graphs import BOTH, model, node, quantize, quantized, weight

from weighbridge.contracts import Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.steps.quantize.onnx_dynamic import DynamicOptions, dynamic


def turned(second: str = "body.down.bias") -> Model:
    """Two dense layers of rows, as torch exports them: weights turned and numbered, biases added behind."""
    nodes = [
        node("MatMul", "x val_3", "a", "node_MatMul_3"),
        node("Add", "a body.up.bias", "b", "node_linear"),
        node("Tanh", "b", "c", "node_tanh"),
        node("MatMul", "c val_7", "d", "node_MatMul_7"),
        node("Add", f"d {second}", "y", "node_linear_1"),
    ]
    weights = {
        "val_3": weight(16, 16),
        "val_7": weight(16, 16),
        "body.up.bias": weight(16),
        second: weight(16),
    }
    return model(nodes, weights, ["n", 6, 16])


@BOTH
@pytest.mark.parametrize("pattern", ["body.down", "body.down.bias", "*.down", "val_7", "node_MatMul_7"])
def test_a_layer_is_found_and_told_by_its_bias(tmp_path: Path, mode: str, pattern: str) -> None:
    assert quantized(quantize(tmp_path, turned(), mode, exclude=[pattern], operators=["MatMul"])) == {
        "body.up": True,
        "body.down": False,
    }


def test_a_bias_of_two_layers_names_neither(tmp_path: Path) -> None:
    """Exporters store equal vectors once, as biases of zeros."""
    shared = turned("body.up.bias")
    assert quantized(quantize(tmp_path, shared, "dynamic")) == {"node_MatMul_3": True, "node_MatMul_7": True}
    with pytest.raises(StageError, match=r"body\.down"):
        quantize(tmp_path, shared, "dynamic", exclude=["body.down"])


def test_what_is_added_to_another_reader_too_is_no_bias(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x val_3", "a", "node_MatMul_3"),
        node("Add", "a body.up.bias", "b", "node_add"),
        node("Mul", "a b", "y", "node_mul"),
    ]
    before = model(nodes, {"val_3": weight(16, 16), "body.up.bias": weight(16)}, ["n", 6, 16])
    assert quantized(quantize(tmp_path, before, "dynamic")) == {"node_MatMul_3": True}


def test_a_module_of_torch_is_excluded_by_its_own_name(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from weighbridge.convert.to_onnx import export

    module = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 16))
    x = np.random.default_rng(0).standard_normal((16, 6, 16)).astype(np.float32)
    context = Context(tmp_path, tmp_path, 0, Data({"calibration": (x, None)}))
    before = export(Model("torch", module.eval()), context)
    after = dynamic(before, DynamicOptions(exclude=["2"]), context)
    assert quantized(after) == {"0": True, "2": False}
