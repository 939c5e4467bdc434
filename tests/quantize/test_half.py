"""`quantize: float16` and `bfloat16` for ONNX: weights of half the bytes, a graph that computes so, and what cannot."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError
from tests.found.onnx_graphs import answers, decibel, model, node, quantized, samples, stored, weight

from weighbridge.contracts import FORMATS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.engines.onnxruntime import OnnxRuntimeSession
from weighbridge.formats.onnx_weights import graphs
from weighbridge.numerics.round_trip import read_back
from weighbridge.run.census import take_census
from weighbridge.steps.quantize.onnx_half import Float16Options, HalfOptions, bfloat16, float16

METHODS = pytest.mark.parametrize(("half", "least"), [("float16", 60), ("bfloat16", 45)])
GRAPH: dict[str, Any] = {"compute": "float16"}


def network() -> Model:
    nodes = [
        node("Conv", "x k", "a", "conv", pads=[1] * 4),
        node("Relu", "a", "b", "act"),
        node("GlobalAveragePool", "b", "c", "pool"),
        node("Flatten", "c", "d", "flat"),
        node("Gemm", "d fc.weight fc.bias", "e", "fc"),
        node("Mul", "e two", "y", "twice"),
    ]
    weights = {
        "k": weight(8, 3, 3, 3),
        "fc.weight": weight(8, 32),
        "fc.bias": weight(32),
        "two": np.float32(2),
    }
    return model(nodes, weights, ["n", 3, 8, 8])


def quantize(folder: Path, made: Model, half: str = "float16", **options: Any) -> Model:
    context = Context(folder, folder, 0, Data({}))
    if half == "bfloat16":
        return bfloat16(made, HalfOptions.model_validate(options), context)
    return float16(made, Float16Options.model_validate(options), context)


def kinds(made: Model) -> Counter[str]:
    return Counter(each.op_type for graph in graphs(made.value) for each in graph.node)


@METHODS
def test_weights_take_half_the_bytes_and_answers_are_the_same(
    half: str, least: float, tmp_path: Path
) -> None:
    before = network()
    after = quantize(tmp_path, before, half)
    assert quantized(after) == {"k": True, "fc": True}
    assert {name: tensor.dtype for name, tensor in stored(after).items()} == {"k": half, "fc.weight": half}
    matrices = sum(tensor.stored_bytes for tensor in stored(before).values())
    assert take_census(before).stored_bytes - take_census(after).stored_bytes == matrices / 2
    assert decibel(before, after) > least
    assert before.value.graph.initializer[0].data_type != TensorProto.FLOAT16


@METHODS
def test_what_is_excluded_stays_in_float32_and_is_named(half: str, least: float, tmp_path: Path) -> None:
    after = quantize(tmp_path, network(), half, exclude=["fc"])
    assert quantized(after) == {"k": True, "fc": False}
    assert stored(after)["fc.weight"].dtype == "float32"
    assert any("fc (Gemm)" in note and "`exclude` names it" in note for note in after.notes)
    with pytest.raises(StageError, match=r"exclude: no weight, layer or node matches 'fd'"):
        quantize(tmp_path, network(), half, exclude=["fd"])


def test_only_what_is_named_is_stored_so(tmp_path: Path) -> None:
    assert quantized(quantize(tmp_path, network(), layers=["Gemm"])) == {"k": False, "fc": True}


def test_a_weight_beyond_the_largest_float16_stays_in_float32(tmp_path: Path) -> None:
    wide = weight(16, 8)
    wide[3, 4] = -70000
    before = model([node("MatMul", "x w", "a", "one"), node("MatMul", "a v", "y", "two")],
                   {"w": wide, "v": weight(8, 8)}, ["n", 16])  # fmt: skip
    for options in ({}, GRAPH):
        after = quantize(tmp_path, before, **options)
        assert quantized(after) == {"w": False, "v": True}
        assert any(
            "1 of its numbers are beyond the largest of float16, up to 7e+04" in each for each in after.notes
        )
        assert decibel(before, after) > 60
    assert all(quantized(quantize(tmp_path, before, "bfloat16")).values())


def test_a_weight_that_would_vanish_stays_in_float32(tmp_path: Path) -> None:
    tiny = weight(16, 8) * np.float32(1e-7)
    before = model([node("MatMul", "x w", "a", "one"), node("MatMul", "a v", "y", "two")],
                   {"w": tiny, "v": weight(8, 8)}, ["n", 16])  # fmt: skip
    after = quantize(tmp_path, before)
    assert quantized(after) == {"w": False, "v": True}
    assert any("too small for float16" in each for each in after.notes)
    assert decibel(before, after) > 60
    some = weight(16, 8)
    some[0] *= 1e-9  # a few numbers that round to zero are nothing beside the others
    before = model([node("MatMul", "x w", "y", "one")], {"w": some}, ["n", 16])
    assert quantized(quantize(tmp_path, before)) == {"w": True}


def inner(kind: str, nodes: list[Any], weights: dict[str, Any]) -> Any:
    output = helper.make_tensor_value_info(f"{kind}_out", TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    return helper.make_graph(nodes, kind, [], [output], initializers)


def branching() -> Model:
    """Weights of the main graph and of a branch, one of them a Constant, read in the branches."""
    constant = helper.make_node(
        "Constant", [], ["held"], "holds", value=numpy_helper.from_array(weight(8, 8))
    )
    yes = inner(
        "then",
        [node("MatMul", "h own", "p"), constant, node("MatMul", "p held", "then_out")],
        {"own": weight(8, 8)},
    )
    no = inner("else", [node("MatMul", "h outer", "else_out")], {})
    nodes = [
        node("MatMul", "x first", "h", "start"),
        node("MatMul", "h outer", "g", "after"),
        node("If", "which", "i", "choice", then_branch=yes, else_branch=no),
        node("Add", "g i", "y", "sum"),
    ]
    weights = {"first": weight(16, 8), "outer": weight(8, 8), "which": np.array(True)}
    return model(nodes, weights, ["n", 16])


@pytest.mark.parametrize("options", [{}, GRAPH], ids=["weights", "graph"])
@pytest.mark.parametrize("taken", [True, False])
def test_bodies_of_control_flow_are_converted_too(
    tmp_path: Path, options: dict[str, Any], taken: bool
) -> None:
    before = branching()
    next(each for each in before.value.graph.initializer if each.name == "which").CopyFrom(
        numpy_helper.from_array(np.array(taken), "which")
    )
    after = quantize(tmp_path, before, **options)
    assert {tensor.dtype for tensor in stored(after).values()} == {"float16"}
    assert set(stored(after)) == {"first", "outer", "own", "held"}
    assert decibel(before, after) > 55
    onnx.shape_inference.infer_shapes(after.value, check_type=True, strict_mode=True)


@pytest.mark.parametrize("options", [{}, GRAPH], ids=["weights", "graph"])
def test_recurrent_layers_and_tables_are_halved(tmp_path: Path, options: dict[str, Any]) -> None:
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r", "b"], ["h", "last"], hidden_size=8, name="lstm"),
        node("ReduceMean", "last", "m", "mean", axes=[0]),
        node("Gather", "table which", "g", "look"),
        node("Add", "m g", "y", "sum"),
    ]
    weights = {
        "w": weight(1, 32, 6), "r": weight(1, 32, 8), "b": weight(1, 64), "table": weight(5, 8), "which": np.array(3),
    }  # fmt: skip
    before = model(nodes, weights, [4, "n", 6])
    after = quantize(tmp_path, before, **options)
    assert {name for name, tensor in stored(after).items() if tensor.dtype == "float16"} >= {
        "w",
        "r",
        "table",
    }
    x = np.random.default_rng(1).standard_normal((4, 3, 6)).astype(np.float32)
    assert np.abs(answers(after, x) - answers(before, x)).max() < 2e-3


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


def test_old_files_and_shared_names_open(tmp_path: Path) -> None:
    """Up to IR version 3 every initializer was an input too; opset 9 has no bfloat16."""
    before = network()
    proto = onnx.ModelProto.FromString(before.value.SerializeToString())
    del proto.opset_import[:]
    proto.opset_import.extend([helper.make_opsetid("", 9)])
    proto.ir_version = 3
    proto.graph.input.extend(
        helper.make_tensor_value_info(each.name, each.data_type, list(each.dims))
        for each in proto.graph.initializer
    )
    old = Model("onnx", proto)
    for half in ("float16", "bfloat16"):
        after = quantize(tmp_path, old, half)
        assert [value.name for value in after.value.graph.input if value.name in ("k", "fc.weight")] == []
        assert decibel(before, after) > 45


def test_what_is_half_already_is_refused(tmp_path: Path) -> None:
    once = quantize(tmp_path, network())
    with pytest.raises(StageError, match="keeps its weights in float16"):
        quantize(tmp_path, once)


@METHODS
@pytest.mark.parametrize("fault", [None, "cut off", "another", "a layer left"])
def test_the_round_trip_finds_a_wrong_file(
    half: str, least: float, fault: str | None, tmp_path: Path
) -> None:
    before = model([node("MatMul", "x w", "a", "one"), node("MatMul", "a v", "y", "two")],
                   {"w": weight(16, 8), "v": weight(8, 8)}, ["n", 16])  # fmt: skip
    after = quantize(tmp_path, before, half, **({"exclude": ["two"]} if fault == "a layer left" else {}))
    (held,) = (each for each in after.value.graph.initializer if each.name == "w_quantized")
    words = np.frombuffer(held.raw_data, np.uint16).copy()
    if fault == "cut off":  # toward zero, as a shift of the bits does
        exact = numpy_helper.to_array(before.value.graph.initializer[0]).reshape(-1)
        words -= (np.abs(stored(after)["w"].values().reshape(-1)) > np.abs(exact)).astype(np.uint16)
    if fault == "another":
        words = words[::-1]
    held.raw_data = np.ascontiguousarray(words).tobytes()
    format_ = FORMATS.get("onnx")
    floats = {each.name: each.array for each in format_.tensors(before)}
    from weighbridge.contracts import STEPS

    scheme = STEPS.get(f"quantize:{half}@onnxruntime").scheme
    assert scheme is not None
    found = read_back(format_.tensors(after), floats, scheme(HalfOptions())).findings
    assert bool(found) == (fault is not None), found
