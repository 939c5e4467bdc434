"""`quantize: float16` with `compute: float16`: a graph that computes so, and what stays in float32 between Casts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from pydantic import ValidationError
from tests.found.onnx_graphs import (
    answers,
    decibel,
    kinds,
    model,
    node,
    quantized,
    samples,
    stored,
    weight,
)
from tests.quantize.halves import GRAPH, network, quantize

from weighbridge.contracts import Model
from weighbridge.engines.onnxruntime import OnnxRuntimeSession
from weighbridge.steps.quantize.onnx_half import Float16Options


def test_a_loop_computes_in_float16(tmp_path: Path) -> None:
    body = helper.make_graph(
        [node("MatMul", "state w", "m"), node("Tanh", "m", "next"), node("Identity", "go", "still")],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, ["n", 8]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["n", 8]),
        ],
    )
    nodes = [node("MatMul", "x v", "h", "in"), node("Loop", "turns yes h", "y", "loop", body=body)]
    weights = {"v": weight(8, 8), "w": weight(8, 8), "turns": np.array(3), "yes": np.array(True)}
    before = model(nodes, weights, ["n", 8])
    after = quantize(tmp_path, before, **GRAPH)
    assert {tensor.dtype for tensor in stored(after).values()} == {"float16"}
    assert decibel(before, after) > 50
    onnx.shape_inference.infer_shapes(after.value, check_type=True, strict_mode=True)


def test_the_graph_computes_in_float16_between_casts_at_its_ends(tmp_path: Path) -> None:
    before = network()
    after = quantize(tmp_path, before, **GRAPH)
    assert kinds(after)["Cast"] == 2
    inferred = onnx.shape_inference.infer_shapes(after.value)
    inside = {each.type.tensor_type.elem_type for each in inferred.graph.value_info}
    assert inside == {TensorProto.FLOAT16}
    ends = (*after.value.graph.input, *after.value.graph.output)
    assert {each.type.tensor_type.elem_type for each in ends} == {TensorProto.FLOAT}
    assert decibel(before, after) > 55


def test_inputs_and_outputs_become_float16_where_that_is_asked_for(tmp_path: Path) -> None:
    before = network()
    after = quantize(tmp_path, before, **GRAPH, keep_io=False)
    ends = (*after.value.graph.input, *after.value.graph.output)
    assert {each.type.tensor_type.elem_type for each in ends} == {TensorProto.FLOAT16}
    assert kinds(after)["Cast"] == 0
    assert answers(after, samples(before)).dtype == np.float16
    assert decibel(before, after) > 50


def test_inputs_in_float16_of_a_graph_that_computes_in_float32_are_a_fault_of_the_file() -> None:
    with pytest.raises(ValidationError, match="`keep_io: false` needs `compute: float16`"):
        Float16Options(keep_io=False)
    assert not Float16Options(compute="float16", keep_io=False).keep_io


def test_operators_without_float16_stay_in_float32_and_are_named(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x w", "a", "one"),
        helper.make_node("RandomNormalLike", ["a"], ["noise"], name="noise", scale=1e-9),
        node("Add", "a noise", "b", "sum"),
        helper.make_node("Resize", ["image", "", "scales"], ["big"], name="up"),
        node("Reshape", "b shape", "image", "fold"),
        node("Flatten", "big", "y", "flat"),
    ]
    nodes[3], nodes[4] = nodes[4], nodes[3]
    weights = {"w": weight(16, 16), "scales": np.float32([1, 1, 2, 2]), "shape": np.array([-1, 1, 4, 4])}
    before = model(nodes, weights, ["n", 16])
    after = quantize(tmp_path, before, **GRAPH)
    assert any("in float32, between Casts" in note and "1 RandomNormalLike" in note for note in after.notes)
    assert decibel(before, after) > 55
    (resize,) = (each for each in after.value.graph.node if each.op_type == "Resize")
    assert resize.input[2] == "scales"  # of one type, whatever the image is
    onnx.shape_inference.infer_shapes(after.value, check_type=True, strict_mode=True)


def test_a_transpose_in_front_of_a_product_is_not_in_float16(tmp_path: Path) -> None:
    """ONNX Runtime 1.31 ends its process over some graphs with such a one, torch's TransformerEncoder among them."""
    nodes = [
        node("Transpose", "x", "t", "first", perm=[1, 0, 2]),
        node("MatMul", "t w", "q", "one"),
        node("MatMul", "t v", "k", "two"),
        node("Transpose", "k", "u", "second", perm=[0, 2, 1]),
        node("MatMul", "q u", "s", "three"),
        node("Transpose", "s", "y", "last", perm=[1, 0, 2]),
    ]
    before = model(nodes, {"w": weight(8, 8), "v": weight(8, 8)}, ["n", 5, 8])
    after = quantize(tmp_path, before, **GRAPH)
    inferred = onnx.shape_inference.infer_shapes(after.value)
    values = (*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info)
    kind = {value.name: value.type.tensor_type.elem_type for value in values}
    turned = {
        each.name: kind[each.input[0]] for each in after.value.graph.node if each.op_type == "Transpose"
    }
    assert turned == {"first": TensorProto.FLOAT, "second": TensorProto.FLOAT, "last": TensorProto.FLOAT16}
    assert any("2 Transpose in front of a MatMul in float32" in note for note in after.notes)
    assert decibel(before, after) > 50


def test_an_operator_that_is_excluded_computes_in_float32(tmp_path: Path) -> None:
    after = quantize(tmp_path, network(), **GRAPH, exclude=["GlobalAveragePool"])
    (pool,) = (each for each in after.value.graph.node if each.op_type == "GlobalAveragePool")
    assert (pool.input[0], pool.output[0]) == ("b", "c")
    assert all(quantized(after).values())


def test_a_mask_beyond_the_range_is_cut_and_told(tmp_path: Path) -> None:
    """As infinity it would make a row that is masked whole not a number."""
    mask = np.where(np.tri(8, 8) > 0, 0, np.finfo(np.float32).min).astype(np.float32)
    mask[0] = mask.min()
    nodes = [
        node("MatMul", "x w", "a", "one"),
        node("Add", "a mask", "b", "hide"),
        node("Softmax", "b", "y", "soft"),
    ]
    before = model(nodes, {"w": weight(8, 8), "mask": mask}, [8, 8])
    after = quantize(tmp_path, before, **GRAPH)
    assert any("constants beyond 65504 were cut to it: mask" in note for note in after.notes)
    wanted, got = (answers(each, samples(before, 8)) for each in (before, after))
    assert np.abs(wanted - got)[1:].max() < 1e-3
    assert got[0].sum() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("way", ["Identity", "Reshape", "Transpose", "Cast", "Gather"])
@pytest.mark.parametrize("why", ["overflow", "excluded"])
def test_a_weight_that_is_left_is_multiplied_in_float32_behind_what_moves_it(
    tmp_path: Path, way: str, why: str
) -> None:
    wide = weight(8, 8)
    wide[3, 4] = 70000 if why == "overflow" else 1
    attributes: dict[str, Any] = {"to": TensorProto.FLOAT} if way == "Cast" else {}
    more = {"Reshape": " shape", "Gather": " rows"}.get(way, "")
    nodes = [
        node(way, f"w{more}", "moved", **attributes),
        node("MatMul", "x moved", "a", "one"),
        node("MatMul", "a v", "y", "two"),
    ]
    weights = {"w": wide, "v": weight(8, 8), "shape": np.array([8, 8]), "rows": np.arange(8)}
    before = model(nodes, weights, ["n", 8])
    after = quantize(tmp_path, before, **GRAPH, exclude=["w"] if why == "excluded" else [])
    assert decibel(before, after) > 60
    read = {each.name: each.input[1] for each in after.value.graph.node if each.op_type == "MatMul"}
    assert (read["one"], read["two"]) == ("moved", "v_quantized")


def normalization(epsilon: Any) -> Model:
    nodes = [
        node("MatMul", "x w", "h", "in"),
        *([helper.make_node("Constant", [], ["eps"], value_float=1e-12)] if epsilon is None else []),
        node("ReduceMean", "h", "mean", axes=[-1]),
        node("Sub", "h mean", "centred"),
        node("Mul", "centred centred", "squared"),
        node("ReduceMean", "squared", "variance", axes=[-1]),
        node("Add", "variance eps", "positive"),
        node("Sqrt", "positive", "deviation"),
        node("Div", "centred deviation", "normal"),
        node("MatMul", "normal v", "y", "out"),
    ]  # fmt: skip
    stored = {} if epsilon is None else {"eps": np.float32(epsilon)}
    return model(nodes, {"w": weight(16, 16), "v": weight(16, 8), **stored}, ["n", 16])


@pytest.mark.parametrize("epsilon", [1e-12, None], ids=["initializer", "constant"])
def test_a_number_that_float16_rounds_to_zero_is_read_in_float32(tmp_path: Path, epsilon: Any) -> None:
    """Of a sample without variance, 0 / 0 came: the small number is there against that."""
    before = normalization(epsilon)
    after = quantize(tmp_path, before, **GRAPH)
    assert any("read in float32, since float16 rounds them to 0: eps" in each for each in after.notes)
    assert answers(after, np.zeros((2, 16), np.float32)) == pytest.approx(0)
    assert decibel(before, after) > 50
    types = {each.name: each.data_type for each in after.value.graph.initializer}
    assert (types["w_quantized"], types["v_quantized"]) == (TensorProto.FLOAT16, TensorProto.FLOAT16)


def test_a_number_that_float16_holds_is_read_in_float16(tmp_path: Path) -> None:
    after = quantize(tmp_path, normalization(1e-3), **GRAPH)
    assert not any("rounds them to 0" in each for each in after.notes)
    assert kinds(after)["Cast"] == 2


def test_an_input_or_a_weight_may_be_an_output_too(tmp_path: Path) -> None:
    before = model([node("Mul", "x w", "y", "one"), node("MatMul", "y v", "z", "two")],
                   {"w": weight(8), "v": weight(8, 8)}, ["n", 8], ("z", "x", "w"))  # fmt: skip
    x = samples(before, 4)
    for keep, dtype in ((True, np.float32), (False, np.float16)):
        after = quantize(tmp_path, before, **GRAPH, keep_io=keep)
        z, passed, w = OnnxRuntimeSession(after.value.SerializeToString()).run((x,))
        assert (z.dtype, passed.dtype, w.dtype) == (dtype, dtype, np.float32)
        assert passed == pytest.approx(x.astype(dtype))
        assert z == pytest.approx(answers(before, x), abs=5e-3)


def test_a_graph_that_declares_a_wrong_shape_is_converted_all_the_same(tmp_path: Path) -> None:
    before = network()
    before.value.graph.value_info.append(helper.make_tensor_value_info("fc.bias", TensorProto.FLOAT, [1, 32]))
    after = quantize(tmp_path, before, **GRAPH)
    assert kinds(after)["Cast"] == 2
    assert decibel(before, after) > 50
