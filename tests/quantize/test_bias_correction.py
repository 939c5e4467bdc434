"""`bias_correction` of `quantize: static`: the means of a layer's channels stay what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.found.onnx_graphs import answers, arrays, model, node, quantize, samples, weight

from weighbridge.contracts import Context, Model
from weighbridge.core.data import Data
from weighbridge.core.layout import Layout
from weighbridge.steps.quantize.onnx_static import StaticOptions, static

BIAS = {"bias": weight(24)}


def convolution(**more: Any) -> Model:
    nodes = [
        node("Conv", "x stem", "a", "stem", pads=[1] * 4),
        node("Relu", "a", "b"),
        node("Conv", "b body bias" if more else "b body", "c", "body", pads=[1] * 4),
        node("GlobalAveragePool", "c", "y"),
    ]
    weights = {"stem": weight(16, 3, 3, 3), "body": weight(24, 16, 3, 3)}
    return model(nodes, {**weights, **more}, ["n", 3, 8, 8])


def product(kind: str) -> Model:
    nodes = {
        "Gemm": [node("Gemm", "x body bias", "c", "body")],
        "MatMul": [node("MatMul", "x body", "p", "body"), node("Add", "p bias", "c")],
    }[kind]
    return model([*nodes, node("Tanh", "c", "y")], {"body": weight(32, 24), **BIAS}, ["n", 32])


def shift(before: Model, after: Model) -> float:
    """How far the mean of an output channel moved, as the root of the mean square over the channels."""
    moved = (answers(before, samples(before)) - answers(after, samples(before))).mean(0)
    return float(np.sqrt(np.square(moved).mean()))


NETWORKS = {
    "a convolution": convolution(**BIAS),
    "one without a bias": convolution(),
    "Gemm": product("Gemm"),
    "MatMul and Add": product("MatMul"),
}


@pytest.mark.parametrize("what", NETWORKS)
def test_the_mean_of_a_channel_stays(what: str, tmp_path: Path) -> None:
    before = NETWORKS[what]
    plain, corrected = (
        quantize(tmp_path, before, "static", float_share=0, bias_correction=on) for on in (False, True)
    )
    assert shift(before, corrected) < shift(before, plain)


def test_a_layer_in_float_keeps_its_bias(tmp_path: Path) -> None:
    before = convolution(**BIAS)
    after = quantize(tmp_path, before, "static", float_share=0, exclude=["body"])
    stored = arrays(after)
    assert np.array_equal(stored["bias"], BIAS["bias"])


def test_a_model_with_a_state_is_corrected_step_by_step(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Concat", ["x", "state"], ["both"], axis=1),
        node("Gemm", "both body bias", "c", "body"),
        node("Tanh", "c", "y"),
        helper.make_node("Slice", ["y", "zero", "width", "axis"], ["next"]),
    ]
    ends = {"zero": np.array([0]), "width": np.array([8]), "axis": np.array([1])}
    before = model(nodes, {"body": weight(24, 24), **BIAS, **ends}, ["n", 16], ("y", "next"))
    state = helper.make_tensor_value_info("state", TensorProto.FLOAT, ["n", 8])
    before.value.graph.input.append(state)
    x = np.random.default_rng(1).standard_normal((16, 5, 16)).astype(np.float32)
    data = Data(splits={"calibration": (x, np.zeros(16))}, layout=Layout(sequence=True))
    found = [
        static(before, StaticOptions(float_share=0, bias_correction=on), Context(tmp_path, tmp_path, 0, data))
        for on in (False, True)
    ]
    plain, corrected = (arrays(made) for made in found)
    assert not np.array_equal(plain["bias_quantized"], corrected["bias_quantized"])


def test_what_is_added_to_rows_is_no_bias_of_the_channels(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x body", "p", "body"), node("Add", "p rows", "c"), node("Tanh", "c", "y")]
    rows = weight(16, 1)
    before = model(nodes, {"body": weight(16, 16), "rows": rows}, ["n", 16, 16])
    after = quantize(tmp_path, before, "static", float_share=0, operators=["MatMul"])
    stored = arrays(after)
    assert np.array_equal(stored["rows"], rows)


def test_a_bias_that_a_branch_reads_too_stays_what_it_is_there(tmp_path: Path) -> None:
    def branch(name: str) -> Any:
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
        return helper.make_graph([node("Add", "c bias", f"{name}_out")], name, [], [out])

    nodes = [
        node("Gemm", "x body bias", "c", "body"),
        node("ReduceMax", "x", "most", keepdims=0),
        node("Greater", "most zero", "which"),
        node("If", "which", "y", "choice", then_branch=branch("then"), else_branch=branch("else")),
    ]
    before = model(nodes, {"body": weight(24, 24), "zero": np.float32(0), **BIAS}, ["n", 24])
    after = quantize(tmp_path, before, "static", float_share=0)
    stored = arrays(after)
    assert np.array_equal(stored["bias"], BIAS["bias"])
    assert shift(before, after) < 0.01


def test_a_bias_of_two_products_is_corrected_for_each(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", "x one bias", "a", "first"),
        node("Relu", "a", "b"),
        node("Gemm", "b two bias", "y", "second"),
    ]
    before = model(nodes, {"one": weight(24, 24), "two": weight(24, 24), **BIAS}, ["n", 24])
    plain, corrected = (
        quantize(tmp_path, before, "static", float_share=0, bias_correction=on) for on in (False, True)
    )
    assert shift(before, corrected) < shift(before, plain)
