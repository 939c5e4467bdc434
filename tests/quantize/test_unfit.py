"""Graphs that ONNX Runtime's quantizers get wrong by themselves: what is edited for them, and what stays in float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.found.onnx_graphs import BOTH, decibel, model, node, quantize, quantized, weight

from weighbridge.contracts import Model
from weighbridge.core.errors import StageError
from weighbridge.steps.quantize.onnx_placement import STATIC

ALL: dict[str, Any] = {"float_share": 0}


@BOTH
def test_no_layer_that_is_left_is_not_every_node(tmp_path: Path, mode: str) -> None:
    """To ONNX Runtime, no names of nodes mean all of them."""
    recurrent = [
        helper.make_node("GRU", ["x", "w", "r"], ["h", "last"], hidden_size=16, name="gru"),
        node("Add", "h h", "y", "twice"),
    ]
    made = model(recurrent, {"w": weight(1, 48, 8), "r": weight(1, 48, 16)}, ["n", 4, 8])
    with pytest.raises(StageError, match=r"nothing to convert: of the types that .*leave no layer"):
        quantize(tmp_path, made, mode)


def test_excluding_all_is_not_blamed_on_slow_kernels(tmp_path: Path) -> None:
    nodes = [node("Conv", "x k", "a", "one"), node("Relu", "a", "y", "act")]
    made = model(nodes, {"k": weight(16, 3, 3, 3)}, ["n", 3, 8, 8])
    with pytest.raises(StageError) as caught:
        quantize(tmp_path, made, "static", exclude=["one"])
    assert "slower than float" not in str(caught.value)
    assert ", ".join(STATIC) in str(caught.value)


@pytest.mark.parametrize("bias", [weight(16), np.float32(3), weight(1, 16)], ids=["vector", "number", "row"])
def test_a_bias_times_beta(tmp_path: Path, bias: Any) -> None:
    gemm = node("Gemm", "x w b", "y", "product", alpha=0.5, beta=2.0)
    made = model([gemm], {"w": weight(8, 16), "b": bias}, ["n", 8])
    after = quantize(tmp_path, made, "static")
    assert quantized(after) == {"product": True}
    assert decibel(made, after) > 25


def test_copies_of_a_shared_bias_have_names_of_their_own(tmp_path: Path) -> None:
    """ONNX Runtime calls them `b0` and `b1`, which are other tensors here."""
    nodes = [
        node("Conv", "x w0 b", "b1", "one", pads=[1] * 4),
        node("Conv", "b1 w1 b", "b0", "two", pads=[1] * 4),
        node("Conv", "b0 w2 b", "c", "three", pads=[1] * 4),
        node("Exp", "b1", "e", "exp"),
        node("Add", "c e", "y", "sum"),
    ]
    weights = {"w0": weight(8, 3, 3, 3), "w1": weight(8, 8, 3, 3), "w2": weight(8, 8, 3, 3), "b": weight(8)}
    made = model(nodes, weights, ["n", 3, 8, 8])
    # All of each range: Exp makes much of the largest values, which the default would clip.
    after = quantize(tmp_path, made, "static", **ALL, calibration="minmax")
    assert all(quantized(after).values())
    assert decibel(made, after) > 25


def two(*more: Any, outputs: tuple[str, ...] = ("y",)) -> Model:
    nodes = [
        node("Conv", "x w0", "a", "one", pads=[1] * 4),
        node("Relu", "a", "b", "act"),
        node("Conv", "b w1", "c", "two", pads=[1] * 4),
        *more,
    ]
    weights = {"w0": weight(8, 3, 3, 3), "w1": weight(8, 8, 3, 3), "zero": np.float32(0)}
    return model(nodes, weights, ["n", 3, 8, 8], outputs)


def branch(kind: str, inputs: str, *more: Any) -> Any:
    output = helper.make_tensor_value_info(kind, TensorProto.FLOAT, None)
    return helper.make_graph([*more, helper.make_node(kind, inputs.split(), [kind])], kind, [], [output])


def test_what_goes_into_an_activation_and_out_of_the_model_is_not_cut_off(tmp_path: Path) -> None:
    made = two(outputs=("a", "c"))
    after = quantize(tmp_path, made, "static", **ALL)
    assert all(quantized(after).values())
    assert decibel(made, after) > 25  # of `a`, which has numbers below zero


def test_what_goes_into_an_activation_and_into_a_branch_keeps_its_name(tmp_path: Path) -> None:
    made = two(
        node("ReduceSum", "x", "total", keepdims=0),
        node("Greater", "total zero", "positive"),
        helper.make_node(
            "If",
            ["positive"],
            ["d"],
            name="if",
            then_branch=branch("Exp", "a"),
            else_branch=branch("Neg", "a"),
        ),
        node("Add", "c d", "y", "sum"),
    )
    after = quantize(tmp_path, made, "static", **ALL)
    assert all(quantized(after).values())
    assert decibel(made, after) > 25


@BOTH
def test_a_stack_of_matrices_takes_one_scale(tmp_path: Path, mode: str) -> None:
    nodes = [node("MatMul", "x w", "a", "flat"), node("MatMul", "a stack", "y", "many")]
    made = model(nodes, {"w": weight(16, 16), "stack": weight(4, 16, 16)}, ["n", 4, 8, 16])
    after = quantize(tmp_path, made, mode)
    assert quantized(after) == {"flat": True, "many": False}
    assert any("many (MatMul) left in float" in note and "per_channel: false" in note for note in after.notes)
    assert decibel(made, after) > 25  # runs at all
    assert all(quantized(quantize(tmp_path, made, mode, per_channel=False)).values())


def test_a_layer_that_infinity_reaches_says_so(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x w", "a", "one"),
        node("Add", "a mask", "b", "masked"),
        node("MatMul", "b w", "y", "two"),
    ]
    mask = np.zeros(16, np.float32)
    mask[0] = -np.inf
    after = quantize(tmp_path, model(nodes, {"w": weight(16, 16), "mask": mask}, ["n", 16]), "static")
    assert any("two (MatMul) left in float: infinity reaches it" in note for note in after.notes)


@pytest.mark.parametrize(("low", "high"), [(0.1, 6), (-6, -0.5)])
@pytest.mark.parametrize("behind", ["Conv", "Log"])
def test_a_clip_that_lets_no_zero_through(tmp_path: Path, low: float, high: float, behind: str) -> None:
    """The range of what is quantized always holds zero, so it cannot take the place of such a Clip."""
    last = (
        [node("Conv", "b w1", "y", "two", pads=[1] * 4)]
        if behind == "Conv"
        else [node("Abs", "b", "c"), node("Log", "c", "y")]
    )
    nodes = [node("Conv", "x w0", "a", "one", pads=[1] * 4), node("Clip", "a low high", "b", "clip"), *last]
    weights = {
        "w0": weight(8, 3, 3, 3),
        "w1": weight(8, 8, 3, 3),
        "low": np.float32(low),
        "high": np.float32(high),
    }
    made = model(nodes, weights, ["n", 3, 8, 8])
    after = quantize(tmp_path, made, "static", **ALL)
    assert all(quantized(after).values())
    assert decibel(made, after) > 20


@pytest.mark.parametrize("options", [{}, {"exclude": ["MaxPool"]}])
def test_a_branch_that_reads_pooled_codes(tmp_path: Path, options: dict[str, Any]) -> None:
    """ONNX Runtime ended the process while loading such a model. The branch's own weights are told, Constant nodes too."""
    constant = node("Constant", "", "inner", value=numpy_helper.from_array(weight(8, 8, 1, 1)))
    made = two(
        node("MaxPool", "c", "pooled", "pool", kernel_shape=[1, 1]),
        node("ReduceSum", "x", "total", keepdims=0),
        node("Greater", "total zero", "positive"),
        helper.make_node(
            "If",
            ["positive"],
            ["d"],
            name="if",
            then_branch=branch("Conv", "pooled inner", constant),
            else_branch=branch("Neg", "pooled"),
        ),
        node("Exp", "pooled", "e"),
        node("Add", "d e", "y"),
    )
    # All of each range: Exp makes much of the largest values, which the default would clip.
    after = quantize(tmp_path, made, "static", **ALL, calibration="minmax", **options)
    assert quantized(after) == {"one": True, "two": True, "inner": False}
    assert any("inner (weight in a body) left in float" in note for note in after.notes)
    assert decibel(made, after) > 25
