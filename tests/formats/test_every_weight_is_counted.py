"""Every weight is counted, wherever an ONNX file keeps it; what cannot be told is an error of the counts, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from weighbridge.audit.inspect import describe, how
from weighbridge.contracts import Model, StoredTensor
from weighbridge.core.errors import StageError
from weighbridge.core.results import Artifact
from weighbridge.formats.onnx_weights import stored_tensors
from weighbridge.measure import nonzero, parameters
from weighbridge.measure.contents import contents
from weighbridge.run.census import take_census

Array = Any
RANDOM = np.random.default_rng(7)
ROWS, COLUMNS = 24, 40
MATRIX = RANDOM.normal(0, 0.2, (ROWS, COLUMNS)).astype(np.float32)
MATRIX[np.abs(MATRIX) < 0.05] = 0
NONZERO = int(np.count_nonzero(MATRIX))
SCALE = np.float32(np.abs(MATRIX).max() / 127)
CODES = np.round(MATRIX / SCALE).astype(np.int8)


def tensor(name: str, array: Array) -> Any:
    return numpy_helper.from_array(np.asarray(array), name)


def node(
    kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: Any
) -> Any:
    return helper.make_node(kind, list(inputs), list(outputs), domain=domain, **attributes)


def info(name: str, shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def build(nodes: Sequence[Any], stored: Sequence[Any] = (), sparse: Sequence[Any] = (), **more: Any) -> Any:
    """A model of `x` [n, ROWS] and `y`; what is not given as an initializer must come from `nodes`."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [info("x", ["n", ROWS])],
        [info("y", ["n", COLUMNS])],
        list(stored),
        sparse_initializer=list(sparse),
    )
    opsets = [
        helper.make_opsetid("", 21),
        helper.make_opsetid("com.microsoft", 1),
        helper.make_opsetid("their.own", 1),
    ]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **more)


PRODUCT = node("MatMul", ["x", "w"], ["y"])


def weights(model: Any) -> dict[str, StoredTensor]:
    return {one.name: one for one in stored_tensors(model)}


def sparse(array: Array, linear: bool) -> Any:
    where = np.nonzero(array)
    values = tensor("w", array[where])
    indices = np.ravel_multi_index(where, array.shape) if linear else np.stack(where, axis=1)
    return helper.make_sparse_tensor(values, tensor("", indices.astype(np.int64)), list(array.shape))


def in_body(outer: bool) -> Any:
    """The weight stands in both bodies of an If, or in the graph around them."""

    def branch(name: str) -> Any:
        own = [] if outer else [tensor(f"w_{name}", MATRIX if name == "then" else MATRIX * 2)]
        product = node("MatMul", ["x", "w" if outer else f"w_{name}"], [f"y_{name}"])
        return helper.make_graph([product], name, [], [info(f"y_{name}", ["n", COLUMNS])], own)

    choice = node("If", ["yes"], ["y"], then_branch=branch("then"), else_branch=branch("else"))
    stored = [tensor("yes", np.array(True))] + ([tensor("w", MATRIX)] if outer else [])
    return build([choice], stored)


def through_a_loop() -> Any:
    """int8 codes enter the Loop as a state; they are dequantized inside."""
    body = helper.make_graph(
        [
            node("DequantizeLinear", ["codes_in", "s"], ["w"]),
            node("MatMul", ["x", "w"], ["y_out"]),
            node("Identity", ["codes_in"], ["codes_out"]),
            node("Identity", ["go_in"], ["go_out"]),
        ],
        "body",
        [
            info("turn", [], TensorProto.INT64),
            info("go_in", [], TensorProto.BOOL),
            info("codes_in", [ROWS, COLUMNS], TensorProto.INT8),
        ],
        [
            info("go_out", [], TensorProto.BOOL),
            info("codes_out", [ROWS, COLUMNS], TensorProto.INT8),
            info("y_out", ["n", COLUMNS]),
        ],
        [tensor("s", SCALE)],
    )
    loop = node("Loop", ["turns", "go", "codes"], ["last", "y"], body=body)
    return build([loop], [tensor("turns", np.int64(2)), tensor("go", np.array(True)), tensor("codes", CODES)])


def through_a_function() -> Any:
    """A model-local function dequantizes and multiplies; it is called twice with one weight."""
    body = [node("DequantizeLinear", ["codes", "scale"], ["w"]), node("MatMul", ["a", "w"], ["b"])]
    function = helper.make_function(
        "local", "Dense", ["a", "codes", "scale"], ["b"], body, [helper.make_opsetid("", 21)]
    )
    calls = [node("Dense", ["x", "c", "s"], [f"h{i}"], "local") for i in range(2)]
    model = build(
        [*calls, node("Add", ["h0", "h1"], ["y"])],
        [tensor("c", CODES), tensor("s", SCALE)],
        functions=[function],
    )
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


def flat(attribute: str, values: Array) -> Any:
    constants = [
        node("Constant", [], ["flat"], **{attribute: values}),
        node("Constant", [], ["shape"], value_ints=[ROWS, COLUMNS]),
    ]
    return build([*constants, node("Reshape", ["flat", "shape"], ["w"]), PRODUCT])


def rows_of_its_own() -> Any:
    """Each row an initializer; the graph stacks them."""
    stored = [tensor(f"row{i}", row) for i, row in enumerate(MATRIX)]
    lifted = [node("Unsqueeze", [f"row{i}", "zero"], [f"lifted{i}"]) for i in range(ROWS)]
    stack = node("Concat", [f"lifted{i}" for i in range(ROWS)], ["w"], axis=0)
    return build([*lifted, stack, PRODUCT], [*stored, tensor("zero", np.array([0]))])


def typed() -> Any:
    return helper.make_tensor("w", TensorProto.FLOAT, MATRIX.shape, MATRIX.reshape(-1).tolist())


FLOAT = {
    "initializer": lambda: build([PRODUCT], [tensor("w", MATRIX)]),
    "typed data": lambda: build([PRODUCT], [typed()]),
    "sparse, linear indices": lambda: build([PRODUCT], sparse=[sparse(MATRIX, True)]),
    "sparse, an index an axis": lambda: build([PRODUCT], sparse=[sparse(MATRIX, False)]),
    "Constant": lambda: build([node("Constant", [], ["w"], value=tensor("", MATRIX)), PRODUCT]),
    "Constant, sparse": lambda: build([node("Constant", [], ["w"], sparse_value=sparse(MATRIX, True)), PRODUCT]),
    "Constant, a list of floats": lambda: flat("value_floats", MATRIX.reshape(-1).tolist()),
    "initializer, flat": lambda: build(
        [node("Reshape", ["flat", "shape"], ["w"]), PRODUCT],
        [tensor("flat", MATRIX.reshape(-1)), tensor("shape", np.array([ROWS, -1]))],
    ),
    "transposed": lambda: build([node("Transpose", ["wt"], ["w"], perm=[1, 0]), PRODUCT], [tensor("wt", MATRIX.T.copy())]),
    "scaled by the graph": lambda: build(
        [node("Mul", ["v", "g"], ["w"]), PRODUCT], [tensor("v", MATRIX), tensor("g", np.float32(2))]
    ),
    "around a body": lambda: in_body(outer=True),
    "rows": rows_of_its_own,
}  # fmt: skip


@pytest.mark.parametrize("where", FLOAT)
def test_floats(where: str) -> None:
    model = FLOAT[where]()
    found = [one for one in stored_tensors(model) if one.is_matrix]
    assert sum(one.array.size for one in found) == MATRIX.size
    assert sum(one.nonzero() for one in found) == NONZERO
    assert all(one.use.role == "weight" for one in found)


def test_each_body_has_its_own() -> None:
    assert {name: one.nonzero() for name, one in weights(in_body(outer=False)).items()} == {
        "w_then": NONZERO,
        "w_else": NONZERO,
    }


def by_hand(kind: Any = np.int8, zero: int = 0, **attributes: Any) -> Any:
    """The graph casts, shifts and scales itself."""
    codes = (CODES.astype(np.int64) + zero).astype(kind)
    nodes = [
        node("Cast", ["c"], ["f"], to=TensorProto.FLOAT), node("Sub", ["f", "z"], ["d"]), node("Mul", ["d", "s"], ["w"]), PRODUCT,
    ]  # fmt: skip
    return build(
        nodes, [tensor("c", codes), tensor("z", np.float32(zero)), tensor("s", np.full((1, COLUMNS), SCALE))]
    )


def qdq(**attributes: Any) -> Any:
    scale = np.full(COLUMNS if attributes else (), SCALE, np.float32)
    return build(
        [node("DequantizeLinear", ["c", "s", "z"], ["w"], **attributes), PRODUCT],
        [tensor("c", CODES), tensor("s", scale), tensor("z", np.zeros(scale.shape, np.int8))],
    )


def qdq_turned() -> Any:
    """Codes are stored turned; the Transpose stands before the per-channel DequantizeLinear."""
    return build(
        [
            node("Transpose", ["c"], ["t"], perm=[1, 0]),
            node("DequantizeLinear", ["t", "s"], ["w"], axis=1),
            PRODUCT,
        ],
        [tensor("c", CODES.T.copy()), tensor("s", np.full(COLUMNS, SCALE))],
    )


def integer_product() -> Any:
    """As ONNX Runtime's dynamic quantizer writes it; the scale is a factor further down."""
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]), node("MatMulInteger", ["xq", "c", "xz", "z"], ["i"]),
        node("Cast", ["i"], ["f"], to=TensorProto.FLOAT), node("Mul", ["xs", "s"], ["both"]), node("Mul", ["f", "both"], ["y"]),
    ]  # fmt: skip
    return build(
        nodes,
        [tensor("c", CODES), tensor("z", np.zeros(COLUMNS, np.int8)), tensor("s", np.full(COLUMNS, SCALE))],
    )


def qlinear_matmul() -> Any:
    one, zero = tensor("one", np.float32(0.1)), tensor("zero", np.uint8(3))
    nodes = [
        node("QuantizeLinear", ["x", "one", "zero"], ["xq"]),
        node("QLinearMatMul", ["xq", "one", "zero", "c", "s", "z", "one", "zero"], ["yq"]),
        node("DequantizeLinear", ["yq", "one", "zero"], ["y"]),
    ]
    return build(nodes, [one, zero, tensor("c", CODES), tensor("s", SCALE), tensor("z", np.int8(0))])


def contrib(kind: str, inputs: Sequence[str]) -> Any:
    return build(
        [node(kind, inputs, ["y"], "com.microsoft", **({"num_heads": 1} if kind == "QAttention" else {}))],
        [
            tensor("c", CODES),
            tensor("s", SCALE),
            tensor("z", np.int8(0)),
            tensor("b", np.zeros(COLUMNS, np.float32)),
        ],
    )


INT8 = {
    "DequantizeLinear": qdq,
    "DequantizeLinear, a scale a column": lambda: qdq(axis=1),
    "a Transpose before it": qdq_turned,
    "MatMulInteger": integer_product,
    "QLinearMatMul": qlinear_matmul,
    "DynamicQuantizeMatMul": lambda: contrib("DynamicQuantizeMatMul", ["x", "c", "s", "z"]),
    "MatMulIntegerToFloat": lambda: contrib("MatMulIntegerToFloat", ["xq", "c", "xs", "s", "xz", "z"]),
    "QAttention": lambda: contrib("QAttention", ["xq", "c", "b", "xs", "s", "", "xz", "z"]),
    "QGemm": lambda: contrib("QGemm", ["xq", "xs", "xz", "c", "s", "z"]),
    "Cast, Sub, Mul": by_hand,
    "Cast, Sub, Mul of uint8": lambda: by_hand(np.uint8, 127),
    "Cast, Sub, Mul of int32": lambda: by_hand(np.int32),
    "a state of a Loop": through_a_loop,
    "an argument of a function": through_a_function,
}  # fmt: skip


@pytest.mark.parametrize("where", INT8)
def test_integers(where: str) -> None:
    (found,) = (one for one in stored_tensors(INT8[where]()) if one.is_matrix)
    assert not found.unread
    assert found.quantization is not None
    assert found.nonzero() == NONZERO
    assert found.use.role == "weight"
    values = found.values()
    np.testing.assert_allclose(
        values.T if where == "a Transpose before it" else values, CODES * SCALE, rtol=1e-6
    )


@pytest.mark.parametrize("where", INT8)
def test_scales_and_zero_points_are_no_weights(where: str) -> None:
    numbers = sum(one.array.size for one in stored_tensors(INT8[where]()) if one.name != "b")
    assert numbers == MATRIX.size


def test_a_table_that_is_dequantized_after_it_was_looked_up() -> None:
    nodes = [
        node("Cast", ["x"], ["ids"], to=TensorProto.INT64), node("Gather", ["c", "ids"], ["row"]),
        node("DequantizeLinear", ["row", "s", "z"], ["y"]),
    ]  # fmt: skip
    stored = [
        tensor("c", (CODES.astype(int) + 128).astype(np.uint8)),
        tensor("s", SCALE),
        tensor("z", np.uint8(128)),
    ]
    (found,) = weights(build(nodes, stored)).values()
    assert (found.use.role, found.operator, found.nonzero()) == ("table", "Gather", NONZERO)


def test_the_tables_of_a_quantized_embedding() -> None:
    names = ["word", "position", "segment", "gamma", "beta"]
    shapes = [(50, 8), (16, 8), (2, 8), (8,), (8,)]
    stored = [
        tensor(name, RANDOM.integers(0, 255, shape).astype(np.uint8))
        for name, shape in zip(names, shapes, strict=True)
    ]
    stored += [tensor(f"{name}_s", np.float32(0.1)) for name in names] + [
        tensor(f"{name}_z", np.uint8(7)) for name in names
    ]
    inputs = ["x", "x", *names, "", *(f"{name}_s" for name in names), *(f"{name}_z" for name in names)]
    found = weights(build([node("QEmbedLayerNormalization", inputs, ["y"], "com.microsoft")], stored))
    assert set(found) == set(names)
    assert all(one.quantization and one.quantization.bits == 8 for one in found.values())
    assert found["word"].nonzero() == int((numpy_helper.to_array(stored[0]) != 7).sum())


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_recurrent_layer(directions: int, per_channel: bool) -> None:
    """Codes [directions, inputs, 4 * hidden], scales [directions] or [directions, 4 * hidden]."""
    hidden = 3
    w = RANDOM.integers(-99, 99, (directions, ROWS, 4 * hidden)).astype(np.int8)
    r = RANDOM.integers(-99, 99, (directions, hidden, 4 * hidden)).astype(np.int8)
    scale = RANDOM.uniform(0.1, 0.2, (directions, 4 * hidden) if per_channel else (directions,)).astype(
        np.float32
    )
    stored = [tensor("w", w), tensor("r", r), tensor("s", scale), tensor("z", np.zeros(scale.shape, np.int8))]
    stored += [tensor("b", np.ones((directions, 8 * hidden), np.float32))]
    inputs = ["x", "w", "r", "b", "", "", "", "", "s", "z", "s", "z"]
    found = weights(
        build([node("DynamicQuantizeLSTM", inputs, ["y"], "com.microsoft", hidden_size=hidden)], stored)
    )
    assert set(found) == {"w", "r", "b"}
    assert found["b"].use.role == "bias"
    np.testing.assert_allclose(found["w"].values(), w * scale.reshape(directions, 1, -1), rtol=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_packed_blocks(bits: int) -> None:
    """32 numbers along each row share a scale; codes are packed low bits first, the last block is short."""
    block, groups = 32, -(-ROWS // 32)
    codes = RANDOM.integers(0, 1 << bits, (COLUMNS, groups * block)).astype(np.uint8)
    codes[:, ROWS:] = 0
    lanes = codes.reshape(COLUMNS, groups, -1, 8 // bits)
    packed = sum(lanes[..., i].astype(int) << (bits * i) for i in range(8 // bits)).astype(np.uint8)
    scale = RANDOM.uniform(0.1, 1, (COLUMNS, groups)).astype(np.float32)
    product = node(
        "MatMulNBits", ["x", "c", "s"], ["y"], "com.microsoft", K=ROWS, N=COLUMNS, bits=bits, block_size=block
    )
    (found,) = weights(build([product], [tensor("c", packed), tensor("s", scale)])).values()
    middle = 1 << (bits - 1)
    assert found.nonzero() == int((codes[:, :ROWS] != middle).sum())
    np.testing.assert_allclose(
        found.values(), (codes[:, :ROWS].astype(int) - middle) * scale[:, :1], rtol=1e-6
    )


def test_a_packed_table() -> None:
    codes = RANDOM.integers(0, 16, (50, 32)).astype(np.uint8)
    packed = (codes[:, ::2] | codes[:, 1::2] << 4).astype(np.uint8)
    look_up = node(
        "GatherBlockQuantized",
        ["c", "ids", "s"],
        ["y"],
        "com.microsoft",
        bits=4,
        block_size=16,
        quantize_axis=1,
    )
    stored = [tensor("c", packed), tensor("ids", np.array([1])), tensor("s", np.ones((50, 2), np.float32))]
    (found,) = weights(build([look_up], stored)).values()
    assert (found.array.shape, found.use.role, found.nonzero()) == (
        (50, 32),
        "table",
        int((codes != 8).sum()),
    )


@pytest.mark.parametrize(
    "kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT4E2M1]
)
def test_reduced_floats(kind: int) -> None:
    stored = helper.make_tensor("w", kind, MATRIX.shape, (MATRIX * 4).reshape(-1))
    (found,) = weights(
        build([node("Cast", ["w"], ["f"], to=TensorProto.FLOAT), node("MatMul", ["x", "f"], ["y"])], [stored])
    ).values()
    assert found.quantization is not None
    assert found.array.size == MATRIX.size
    assert found.nonzero() == int(np.count_nonzero(numpy_helper.to_array(stored).astype(np.float32)))


def test_integers_that_nobody_dequantizes_are_no_weights() -> None:
    """Look-alikes: shapes, indices, a mask of bytes that is cast, scaled and added."""
    mask = np.tril(np.ones((COLUMNS, COLUMNS), np.uint8))
    nodes = [
        node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT), node("Mul", ["m", "much"], ["large"]),
        node("MatMul", ["x", "w"], ["h"]), node("Gather", ["h", "order"], ["o"], axis=1), node("Add", ["o", "large"], ["y"]),
    ]  # fmt: skip
    stored = [
        tensor("mask", mask),
        tensor("much", np.float32(-1e4)),
        tensor("w", MATRIX),
        tensor("order", np.arange(COLUMNS)[None]),
    ]
    assert {name for name, one in weights(build(nodes, stored)).items() if one.is_matrix} == {"w"}


def unknown(array: Array) -> Any:
    return build(
        [node("Dense", ["x", "secret"], ["y"], "their.own", name="layer7")], [tensor("secret", array)]
    )


@pytest.mark.parametrize("array", [CODES, CODES.reshape(-1).view(np.uint8), CODES.astype(np.int32)])
def test_what_an_unknown_operator_does_is_an_error_of_the_counts(tmp_path: Path, array: Array) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(unknown(array), path)
    artifact = Artifact("onnx", path, (path,))
    for count in (parameters.survey, nonzero.count, contents):
        with pytest.raises(
            StageError,
            match=r"of 'secret', what their\.own\.Dense \('layer7'\) does with these .* is not known",
        ):
            count(artifact)
    (layer,) = describe(path)["layers"]
    assert how(layer).startswith("not known: what their.own.Dense")


@pytest.mark.parametrize("array", [MATRIX, np.array([3, 4]), np.int8(3)])
def test_floats_and_sizes_of_an_unknown_operator_are_none(tmp_path: Path, array: Array) -> None:
    assert not any(one.unread for one in stored_tensors(unknown(array)))


@pytest.mark.parametrize("make", [*FLOAT.values(), *INT8.values()], ids=[*FLOAT, *INT8])
def test_all_counts_agree(tmp_path: Path, make: Any) -> None:
    path, model = tmp_path / "m.onnx", make()
    path.write_bytes(model.SerializeToString())
    artifact = Artifact("onnx", path, (path,))
    census = take_census(Model("onnx", model))
    assert nonzero.count(artifact) == (census.nonzero, census.parameters)
    survey = parameters.survey(artifact)
    found = describe(path)
    assert survey["parameters"] == sum(one["numbers"] for one in found["layers"])
    assert survey["largest_bytes"] == max(one["bytes"] for one in found["layers"])
    assert sum(one["numbers"] for one in contents(artifact)["weights"]) == census.parameters
    assert census.stored_bytes == sum(one["bytes"] for one in found["layers"]) <= path.stat().st_size
