"""`quantize: weight_only` for ONNX: what becomes MatMulNBits, what stays in float, and that a wrong file is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.found.onnx_graphs import (
    answers,
    decibel,
    findings,
    model,
    node,
    products,
    quantized,
    samples,
    stored,
    weight,
)

from weighbridge.contracts import Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.steps.onnx_edits import bodies
from weighbridge.steps.quantize.onnx_weight_only import WeightOnlyOptions, scheme, weight_only


def quantize(folder: Path, made: Model, **options: Any) -> Model:
    return weight_only(made, WeightOnlyOptions.model_validate(options), Context(folder, folder, 0, Data({})))


@pytest.mark.parametrize(("bits", "block", "least"), [(4, 32, 15), (4, 16, 16), (8, 64, 35)])
def test_products_become_blocks_of_few_bits(bits: int, block: int, least: float, tmp_path: Path) -> None:
    before = products(64, 40)
    after = quantize(tmp_path, before, bits=bits, block_size=block)
    assert quantized(after) == {"first": True, "second": True, "third": True}
    for name, tensor in stored(after).items():
        assert tensor.quantization is not None, name
        assert (tensor.quantization.bits, tensor.quantization.group_size) == (bits, block)
    assert {each.name for each in after.value.graph.node if each.op_type == "MatMulNBits"} == {
        "first",
        "second",
        "third",
    }
    assert decibel(before, after) > least


def test_more_bits_and_smaller_blocks_are_nearer(tmp_path: Path) -> None:
    before = products(64, 40)
    found = [
        decibel(before, quantize(tmp_path, before, **options))
        for options in ({"block_size": 64}, {"block_size": 16}, {"bits": 8})
    ]
    assert found == sorted(found)


def test_what_is_excluded_stays_in_float(tmp_path: Path) -> None:
    after = quantize(tmp_path, products(64, 40), exclude=["second", "third"])
    assert quantized(after) == {"first": True, "second": False, "third": False}
    assert [each.op_type for each in after.value.graph.node].count("MatMulNBits") == 1


def test_a_matrix_of_two_products_is_stored_once(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x w", "a", "one"),
        node("Relu", "a", "b"),
        node("MatMul", "b w", "y", "two"),
    ]
    before = model(nodes, {"w": weight(32, 32)}, ["n", 32])
    after = quantize(tmp_path, before)
    assert quantized(after) == {"one": True, "two": True}
    assert len(stored(after)) == 1
    assert answers(after, samples(before)).shape == (64, 32)


def test_what_it_cannot_take_is_named(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x w", "a", "plain"),
        node("MatMul", "left a", "b", "turned"),
        node("MatMul", "b stack", "y", "stacked"),
    ]
    weights = {"w": weight(32, 32), "left": weight(4, 4), "stack": weight(2, 32, 32)}
    after = quantize(tmp_path, model(nodes, weights, [4, 32]))
    assert quantized(after) == {"plain": True, "turned": False, "stacked": False}
    told = " ".join(after.notes)
    assert "stand on the left" in told
    assert "not a stack" in told


def test_a_product_in_a_branch_is_left_and_named(tmp_path: Path) -> None:
    """The library would take it along, whatever was asked for."""
    body = helper.make_graph(
        [node("MatMul", "h inner", "out", "inner_product")],
        "then",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight(32, 32), "inner")],
    )
    other = helper.make_graph(
        [node("Identity", "h", "out2")],
        "else",
        [],
        [helper.make_tensor_value_info("out2", TensorProto.FLOAT, None)],
    )
    nodes = [
        node("MatMul", "x w", "h", "outer"),
        node("If", "which", "y", "choice", then_branch=body, else_branch=other),
    ]
    before = model(nodes, {"w": weight(32, 32), "which": np.array(True)}, ["n", 32])
    after = quantize(tmp_path, before)
    inside = {each.op_type for graph in bodies(after.value) for each in graph.node}
    assert "MatMulNBits" not in inside
    assert any("inner" in note and "float" in note for note in after.notes)


def test_nothing_to_take_is_an_error(tmp_path: Path) -> None:
    before = model([node("Conv", "x k", "y", "conv")], {"k": weight(4, 3, 3, 3)}, ["n", 3, 8, 8])
    with pytest.raises(StageError, match="nothing to convert"):
        quantize(tmp_path, before)


@pytest.mark.parametrize("fault", [None, "another block"])
def test_only_a_block_of_zeros_may_have_the_scale_zero(fault: str | None, tmp_path: Path) -> None:
    """As ONNX Runtime gives one, of a pruned matrix say."""
    pruned = weight(64, 40)
    pruned[:32, 3:8] = 0
    before = model([node("MatMul", "x w", "y", "one")], {"w": pruned}, ["n", 64])
    after = quantize(tmp_path, before)
    (tensor,) = (each for each in after.value.graph.initializer if each.name == "w_scale")
    scale = numpy_helper.to_array(tensor).copy()
    assert (scale == 0).sum() == 5
    if fault:
        scale.reshape(-1)[np.flatnonzero(scale)[7]] = 0
        tensor.CopyFrom(numpy_helper.from_array(scale, "w_scale"))
    found = " ".join(str(each) for each in findings(before, after, scheme(WeightOnlyOptions())))
    assert ("a scale is not positive and finite: 0" in found) == (fault is not None), found
    assert fault or not found


@pytest.mark.parametrize("fault", [None, "a scale", "a block", "the order"])
def test_the_round_trip_finds_a_wrong_file(fault: str | None, tmp_path: Path) -> None:
    before = products(64, 40)
    after = quantize(tmp_path, before)
    proto = after.value
    tensors = {each.name: each for each in proto.graph.initializer}
    codes, scale = (numpy_helper.to_array(tensors[f"first_{end}"]).copy() for end in ("quantized", "scale"))
    if fault == "a scale":
        scale.reshape(-1)[5] *= 1.5
    if fault == "a block":
        codes[3, 0] = codes[3, 0][::-1]
    if fault == "the order":
        codes = codes[::-1]
    tensors["first_quantized"].CopyFrom(
        numpy_helper.from_array(np.ascontiguousarray(codes), "first_quantized")
    )
    tensors["first_scale"].CopyFrom(numpy_helper.from_array(scale, "first_scale"))
    found = findings(before, after, scheme(WeightOnlyOptions()))
    assert bool(found) == (fault is not None), found
    assert all("first" in str(each) for each in found)
