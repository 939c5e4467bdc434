"""What an integer product gives to float operators is not rounded on the way; elsewhere it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from tests.found.onnx_graphs import decibel, model, node, quantize, weight

from weighbridge.contracts import Model


def rounded(after: Model) -> set[str]:
    return {each.input[0] for each in after.value.graph.node if each.op_type == "QuantizeLinear"}


def served(after: Model, folder: Path) -> set[str]:
    """The operators that ONNX Runtime makes of the file."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "served.onnx")
    ort.InferenceSession(after.value.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {each.op_type for each in onnx.load(folder / "served.onnx").graph.node}


def attention() -> Model:
    """Three projections that a softmax and products of activations read, and one behind them: [n, 6, 32] to the same."""
    nodes = [
        node("MatMul", "x wq", "q", "query"),
        node("MatMul", "x wk", "k", "key"),
        node("MatMul", "x wv", "v", "value"),
        node("Transpose", "k", "kt", "turn", perm=[0, 2, 1]),
        node("MatMul", "q kt", "s", "scores"),
        node("Softmax", "s", "p", "softmax", axis=-1),
        node("MatMul", "p v", "m", "mix"),
        node("MatMul", "m wo", "y", "out"),
    ]
    return model(nodes, {name: weight(32, 32) for name in ("wq", "wk", "wv", "wo")}, ["n", 6, 32])


def test_projections_give_attention_floats_by_an_integer_kernel(tmp_path: Path) -> None:
    before = attention()
    after = quantize(tmp_path, before, "static")
    assert rounded(after) == {"x", "m"}, "what products read, and nothing that they give"
    assert [each.name for each in after.value.graph.output] == ["y"]
    kinds = served(after, tmp_path)
    assert "MatMulIntegerToFloat" in kinds
    assert "QLinearMatMul" not in kinds
    assert (
        decibel(before, after) > decibel(before, quantize(tmp_path, before, "static", operators="all")) + 1.5
    )


@pytest.mark.parametrize("activation", ["Relu", "Tanh"])
def test_a_dense_layer_before_a_float_operator(tmp_path: Path, activation: str) -> None:
    nodes = [
        node("Gemm", "x w b", "h", "first"),
        node(activation, "h", "a", "act"),
        node("Exp", "a", "e", "exp"),
        node("Gemm", "e v", "y", "last"),
    ]
    before = model(nodes, {"w": weight(32, 32), "b": weight(32), "v": weight(32, 24)}, ["n", 32])
    after = quantize(tmp_path, before, "static", float_share=0)
    assert rounded(after) == {"x", "e"}
    assert "QGemm" in served(after, tmp_path)
    assert decibel(before, after) > 30


def test_codes_stay_codes_between_products(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", "x w", "h", "first"),
        node("Relu", "h", "a", "act"),
        node("Gemm", "a v", "y", "last"),
    ]
    before = model(nodes, {"w": weight(32, 32), "v": weight(32, 24)}, ["n", 32])
    after = quantize(tmp_path, before, "static", float_share=0)
    assert len(rounded(after)) == 2, "what each product reads"
    assert "Relu" not in {each.op_type for each in after.value.graph.node}, (
        "the range of the codes does its work"
    )


def test_a_result_that_a_product_reads_too_is_rounded_once(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", "x w", "h", "first"),
        node("Gemm", "h v", "g", "last"),
        node("Exp", "h", "e", "exp"),
        node("Add", "g e", "y", "sum"),
    ]
    before = model(nodes, {"w": weight(32, 32), "v": weight(32, 32)}, ["n", 32])
    after = quantize(tmp_path, before, "static", float_share=0)
    assert rounded(after) == {"x", "h"}


@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
def test_an_activation_that_was_fused_into_the_rounding_is_still_done(tmp_path: Path, kind: str) -> None:
    """ONNX Runtime has no kernel of a convolution that gives floats, and `operators: all` fuses behind a Gemm too."""
    conv: dict[str, Any] = {"pads": [1, 1, 1, 1]} if kind == "Conv" else {}
    nodes = [
        node(kind, "x w", "h", "first", **conv),
        node("Relu", "h", "a", "act"),
        node("Exp", "a", "y", "exp"),
    ]
    shape = (16, 8, 3, 3) if kind == "Conv" else (8, 16)
    x = ["n", 8, 5, 5] if kind == "Conv" else ["n", 8]
    before = model(nodes, {"w": weight(*shape)}, x)
    after = quantize(tmp_path, before, "static", operators="all", float_share=0)
    assert rounded(after) == {"x", "a"}
    assert decibel(before, after) > 25


def test_a_score_is_no_code(tmp_path: Path) -> None:
    before = model([node("MatMul", "x w", "y", "head")], {"w": weight(32, 10)}, ["n", 32])
    after = quantize(tmp_path, before, "static")
    assert rounded(after) == {"x"}
    x = np.random.default_rng(1).standard_normal((512, 32)).astype(np.float32)
    session = ort.InferenceSession(after.value.SerializeToString(), providers=["CPUExecutionProvider"])
    assert len(np.unique(session.run(None, {"x": x})[0])) > 2**8
