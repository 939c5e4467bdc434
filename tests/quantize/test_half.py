"""`quantize: float16` and `bfloat16` for ONNX: weights of half the bytes, wherever they stand, and what cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.found.onnx_graphs import (
    answers,
    decibel,
    findings,
    model,
    node,
    quantized,
    stored,
    weight,
)
from tests.quantize.halves import GRAPH, network, quantize

from weighbridge.contracts import STEPS, Model
from weighbridge.core.errors import StageError
from weighbridge.run.census import take_census
from weighbridge.steps.quantize.onnx_half import HalfOptions

METHODS = pytest.mark.parametrize(("half", "least"), [("float16", 60), ("bfloat16", 45)])


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
    scheme = STEPS.get(f"quantize:{half}@onnxruntime").scheme
    assert scheme is not None
    found = findings(before, after, scheme(HalfOptions()))
    assert bool(found) == (fault is not None), found
