"""Weights of ONNX graphs, shared, hidden behind nodes or beside a bias of any form: each is quantized once, where it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.found.onnx_graphs import (
    BOTH,
    decibel,
    model,
    node,
    quantize,
    quantized,
    samples,
    stored,
    weight,
)

from weighbridge.contracts import Context, Model
from weighbridge.core.data import Data
from weighbridge.engines.onnxruntime import OnnxRuntimeSession
from weighbridge.steps.quantize.onnx_dynamic import DynamicOptions, dynamic

# ----------------------------------------------------------------------------------------- shared weights


def two_readers(head: str = "MatMul") -> Model:
    nodes = [
        node("MatMul", "x both", "a", "enc"),
        node("Relu", "a", "b", "act"),
        node("MatMul", "b both", "c", "dec"),
        node(head, "c out", "y", "head"),
    ]
    return model(nodes, {"both": weight(40, 40), "out": weight(40, 6)}, ["n", 40])


@BOTH
def test_one_of_two_readers_excluded_keeps_its_float_numbers(tmp_path: Path, mode: str) -> None:
    before = two_readers()
    after = quantize(tmp_path, before, mode, exclude=["dec"])
    assert quantized(after) == {"enc": True, "dec": False, "head": True}
    (kept,) = [tensor for tensor in stored(after).values() if tensor.quantization is None]
    np.testing.assert_array_equal(kept.array, numpy_helper.to_array(before.value.graph.initializer[0]))
    (dec,) = [each for each in after.value.graph.node if each.name == "dec"]
    assert kept.name in dec.input
    assert any("both is stored twice: dec keeps it in float" in note for note in after.notes)


@BOTH
def test_a_weight_of_two_readers_is_stored_once(tmp_path: Path, mode: str) -> None:
    after = quantize(tmp_path, two_readers(), mode)
    assert set(stored(after)) == {"both", "out"}
    assert all(quantized(after).values())
    assert after.notes == ()


@BOTH
def test_a_part_of_a_table_is_read_where_the_file_tells_the_shape_of_the_whole(
    tmp_path: Path, mode: str
) -> None:
    """torch exports so the positions of an encoder, [512, width] for sentences of 32 tokens, and its `normalize`."""
    given = {"from": np.array([0]), "to": np.array([32]), "least": np.float32(1e-12), "last": np.array([-1])}
    nodes = [
        node("Slice", "places from to", "some", "part"),
        node("Add", "x some", "a", "place"),
        node("MatMul", "a w", "b", "fc"),
        node("ReduceL2", "b last", "length", keepdims=1),
        node("Clip", "length least", "above"),
        node("Shape", "b", "shape"),
        node("Expand", "above shape", "lengths"),
        node("Div", "b lengths", "y"),
    ]
    before = model(nodes, {"places": weight(512, 40), "w": weight(40, 24), **given}, ["n", 32, 40])
    before.value.opset_import[0].version = 18  # from here on ReduceL2 defeats ONNX Runtime's symbolic shapes
    before.value.graph.value_info.append(
        helper.make_tensor_value_info("places", TensorProto.FLOAT, [512, 40])
    )
    after = quantize(tmp_path, before, mode)
    assert quantized(after)["fc"]
    assert decibel(before, after) > 20


def gemms(second: int, readers: int = 2) -> Model:
    nodes = [node("Gemm", "x w c", "h0", "once", transB=1)]
    for number in range(1, readers):
        nodes += [
            node("Relu", f"h{number - 1}", f"r{number}"),
            node("Gemm", f"r{number} w c", f"h{number}", f"again{number}", transB=second),
        ]
    nodes[-1].output[0] = "y"
    return model(nodes, {"w": weight(24, 24), "c": weight(24)}, ["n", 24])


@pytest.mark.parametrize("readers", [2, 3, 4])
@pytest.mark.parametrize("weights", ["int8", "uint8"])
def test_a_shared_transposed_gemm_weight_is_not_turned_twice(
    tmp_path: Path, readers: int, weights: str
) -> None:
    before = gemms(1, readers)
    after = quantize(tmp_path, before, "dynamic", weights=weights)
    assert decibel(before, after) > 20
    assert list(stored(after)) == ["w"], "turned once, it needs no copy"
    assert after.notes == ()


def test_a_weight_that_is_read_both_ways_is_stored_twice_and_told(tmp_path: Path) -> None:
    before = gemms(0)
    after = quantize(tmp_path, before, "dynamic")
    assert decibel(before, after) > 20
    assert len(stored(after)) == 2
    assert any(
        note.startswith("w is tied: once and again1 read it in different layouts") for note in after.notes
    )


@pytest.mark.parametrize("excluded", [["once"], ["again1"], ["once", "again2"]])
def test_excluded_gemms_compute_what_they_did(tmp_path: Path, excluded: list[str]) -> None:
    before = gemms(1, 4)
    after = quantize(tmp_path, before, "dynamic", exclude=excluded)
    assert decibel(before, after) > 20
    layers = ("once", "again1", "again2", "again3")
    assert quantized(after) == {name: name not in excluded for name in layers}


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_bias_that_two_layers_share(tmp_path: Path, per_channel: bool) -> None:
    nodes = [
        node("Conv", "x k1 b", "b0", "left", pads=[1] * 4),
        node("Relu", "b0", "b1", "act"),
        node("Conv", "b1 k2 b", "y", "right", pads=[1] * 4),
    ]
    before = model(
        nodes, {"k1": weight(6, 3, 3, 3), "k2": weight(6, 6, 3, 3), "b": weight(6)}, ["n", 3, 9, 9]
    )
    after = quantize(tmp_path, before, "static", per_channel=per_channel)
    assert all(quantized(after).values())
    assert decibel(before, after) > 18


@pytest.mark.parametrize(
    ("mode", "options"),
    [("dynamic", {"operators": "all"}), ("static", {}), ("static", {"per_channel": False})],
)
def test_a_filter_at_two_scales(tmp_path: Path, mode: str, options: dict[str, Any]) -> None:
    nodes = [
        node("Conv", "x k0", "f1", "stem", pads=[1] * 4),
        node("MaxPool", "f1", "f2", "half", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "f1 k c", "big", "head_a", pads=[1] * 4),
        node("Conv", "f2 k c", "small", "head_b", pads=[1] * 4),
    ]
    weights = {"k0": weight(8, 3, 3, 3), "k": weight(8, 8, 3, 3), "c": weight(8)}
    before = model(nodes, weights, ["n", 3, 16, 16], ("big", "small"))
    after = quantize(tmp_path, before, mode, **options)
    assert set(stored(after)) == {"k0", "k"}
    assert decibel(before, after) > 15


# ----------------------------------------------------------------------------------------------- biases


@pytest.mark.parametrize("shape", [(16,), (1, 16), (1, 1), (1,), ()])
@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_bias_of_any_shape_per_channel(
    tmp_path: Path, shape: tuple[int, ...], transposed: int
) -> None:
    before = model(
        [node("Gemm", "x w c", "a", "dense", transB=transposed), node("Relu", "a", "y")],
        {"w": weight(16, 12) if transposed else weight(12, 16), "c": np.float32(1) + weight(*shape)},
        ["n", 12],
    )
    after = quantize(tmp_path, before, "static", per_channel=True)
    assert quantized(after) == {"dense": True}
    assert decibel(before, after) > 20
    assert sum(each.op_type == "Add" for each in after.value.graph.node) == 0


def test_a_gemm_that_adds_another_row_to_each_sample(tmp_path: Path) -> None:
    """C of shape [M, N] is no bias of the outputs: it stays in float, in a node of its own."""
    before = model(
        [node("Gemm", "x w c", "y", "dense", beta=0.5)], {"w": weight(12, 16), "c": weight(4, 16)}, [4, 12]
    )
    after = quantize(tmp_path, before, "static", per_channel=True)
    assert quantized(after) == {"dense": True}
    x = samples(before, 4)
    wanted, got = (
        OnnxRuntimeSession(each.value.SerializeToString()).run((x,))[0] for each in (before, after)
    )
    np.testing.assert_allclose(got, wanted, atol=0.1)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("per_channel", [True, False])
def test_transposed_convolutions_in_groups(tmp_path: Path, groups: int, per_channel: bool) -> None:
    nodes = [
        node("ConvTranspose", "x k c", "a", "up", strides=[2, 2], group=groups),
        node("Relu", "a", "b", "act"),
        node("Conv", "b k2", "y", "out"),
    ]
    weights = {"k": weight(4, 12 // groups, 3, 3), "c": 1 + weight(12), "k2": weight(3, 12, 1, 1)}
    before = model(nodes, weights, ["n", 4, 6, 6])
    after = quantize(tmp_path, before, "static", per_channel=per_channel)
    assert quantized(after) == {"up": True, "out": True}
    quantization = stored(after)["k"].quantization
    assert quantization is not None
    assert quantization.axis == (1 if per_channel else None)
    assert decibel(before, after) > 18
    left = quantize(tmp_path, before, "dynamic", operators="all")
    assert quantized(left) == {"up": False, "out": True}
    assert (
        "up (ConvTranspose) left in float: ONNX Runtime's dynamic quantization has no integer kernel"
        in str(left.notes)
    )


# -------------------------------------------------------------------------------- weights that hide behind nodes

W = weight(16, 24)
HIDDEN: dict[str, Callable[[], tuple[list[Any], dict[str, Any]]]] = {
    "identity": lambda: ([node("Identity", "fc.weight", "w")], {"fc.weight": W}),
    "transpose": lambda: ([node("Transpose", "fc.weight", "w", perm=[1, 0])], {"fc.weight": W.T.copy()}),
    "transposed twice": lambda: (
        [node("Transpose", "fc.weight", "t", perm=[1, 0]), node("Transpose", "t", "w", perm=[1, 0])],
        {"fc.weight": W},
    ),
    "slice": lambda: (
        [node("Slice", "fc.weight from to axis", "w")],
        {
            "fc.weight": np.concatenate([W, W]),
            "from": np.array([0]),
            "to": np.array([16]),
            "axis": np.array([0]),
        },
    ),
    "concat": lambda: ([node("Concat", "top bottom", "w", axis=0)], {"top": W[:9], "bottom": W[9:]}),
    "reshape": lambda: (
        [node("Reshape", "fc.weight shape", "w")],
        {"fc.weight": W.reshape(4, 96), "shape": np.array([16, 24])},
    ),
    "squeeze": lambda: (
        [node("Squeeze", "fc.weight axis", "w")],
        {"fc.weight": W[None], "axis": np.array([0])},
    ),
    "scaled": lambda: (
        [node("Mul", "fc.weight g", "w")],
        {"fc.weight": W, "g": 1 + weight(1, 24)},
    ),
    "constant": lambda: (
        [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(W.T.copy(), "c")),
            node("Transpose", "c", "w", perm=[1, 0]),
        ],
        {},
    ),
}


@BOTH
@pytest.mark.parametrize("how", HIDDEN)
def test_weights_behind_constant_nodes_are_found(tmp_path: Path, mode: str, how: str) -> None:
    hiding, weights = HIDDEN[how]()
    nodes = [
        *hiding,
        node("MatMul", "x w", "a", "fc_node"),
        node("Relu", "a", "b"),
        node("MatMul", "b v", "y", "last"),
    ]
    before = model(nodes, {**weights, "v": weight(24, 8)}, ["n", 16])
    after = quantize(tmp_path, before, mode)
    assert all(quantized(after).values())
    assert len(quantized(after)) == 2
    assert decibel(before, after) > 20
    assert len(stored(after)) == 2
    if "fc.weight" in weights:
        called = (
            "fc_node" if how == "scaled" else "fc"
        )  # other numbers of the same shape take no weight's name
        assert quantized(quantize(tmp_path, before, mode, exclude=["fc"])) == {called: False, "last": True}


def test_what_is_computed_from_the_input_is_no_weight(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0]),
        node("MatMul", "x t", "g"),
        node("MatMul", "g w", "y", "fc"),
    ]
    after = quantize(tmp_path, model(nodes, {"w": weight(64, 4)}, [64, 8]), "dynamic")
    assert quantized(after) == {"fc": True}


@BOTH
def test_a_copy_of_a_shared_weight_is_no_second_weight(tmp_path: Path, mode: str) -> None:
    """Exporters give a shared parameter's readers an Identity each; one reader may have the parameter itself."""
    nodes = [
        node("MatMul", "x both", "a", "enc"),
        node("Identity", "both", "alias"),
        node("Identity", "alias", "alias2"),
        node("MatMul", "a alias2", "y", "dec"),
    ]
    after = quantize(tmp_path, model(nodes, {"both": weight(24, 24)}, ["n", 24]), mode)
    assert list(stored(after)) == ["both"]
    assert all(quantized(after).values())
    assert after.notes == ()


def test_a_tie_read_in_two_layouts_is_stored_once_and_told(tmp_path: Path) -> None:
    """A word table that is the output layer too: Gather reads its rows, the product its transpose."""
    nodes = [
        node("Cast", "x", "ids", to=TensorProto.INT64),
        node("Gather", "table.weight ids", "e", "embed"),
        node("ReduceMean", "e", "m", axes=[1], keepdims=0),
        node("Transpose", "table.weight", "turned", perm=[1, 0]),
        node("MatMul", "m turned", "y", "head"),
    ]
    before = model(nodes, {"table.weight": weight(50, 16)}, ["n", 6])
    after = dynamic(before, DynamicOptions(weights="uint8"), Context(tmp_path, tmp_path, 0, Data()))
    assert set(quantized(after).values()) == {True}
    assert list(stored(after)) == ["table.weight"]
    assert after.notes == (
        "table.weight is tied and stored once: head reads its transpose, and computes in float",
    )
    ids = np.random.default_rng(0).integers(0, 50, (20, 6)).astype(np.float32)
    wanted, got = (
        OnnxRuntimeSession(each.value.SerializeToString()).run((ids,))[0] for each in (before, after)
    )
    np.testing.assert_allclose(got, wanted, atol=0.05)
