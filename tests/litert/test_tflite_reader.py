"""What the reader finds in a `.tflite`, against files whose every byte is known."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tflite_builder import (
    CUSTOM,
    DENSIFY,
    DEQUANTIZE,
    FLOAT16,
    FLOAT32,
    FULLY_CONNECTED,
    INT2,
    INT4,
    INT8,
    INT16,
    INT32,
    INT64,
    RESHAPE,
    UINT4,
    UINT8,
    Graph,
    Operator,
    Tensor,
    floats,
    fully_connected,
    pack,
    write,
)

from weighbridge.contracts import Model
from weighbridge.core.errors import StageError
from weighbridge.formats.tflite_file import TFLiteFile, layer_of
from weighbridge.run.census import take_census

CODES = np.array([[-7, 3, 0], [5, -8, 1]])


def only(content: bytes):
    (tensor,) = TFLiteFile(content).tensors()
    return tensor


def test_floats_are_read_as_they_stand() -> None:
    values = np.array([[1.5, 0.0, -2.0], [0.0, 0.25, 4.0]], np.float32)
    tensor = only(write(fully_connected(Tensor("w", (2, 3), FLOAT32, floats(values)), 2, 3)))
    assert (tensor.name, tensor.dtype, tensor.stored_bytes, tensor.operator) == (
        "w",
        "float32",
        24,
        "FULLY_CONNECTED",
    )
    assert tensor.quantization is None
    np.testing.assert_array_equal(tensor.values(), values)
    assert tensor.nonzero() == 4


def test_per_channel_scales_belong_to_their_axis() -> None:
    weight = Tensor("w", (2, 3), INT8, CODES.astype(np.int8).tobytes(), scale=(0.5, 0.25), axis=0)
    tensor = only(write(fully_connected(weight, 2, 3)))
    assert tensor.quantization is not None
    assert (tensor.quantization.axis, tensor.quantization.bits) == (0, 8)
    np.testing.assert_array_equal(tensor.values(), CODES * np.array([[0.5], [0.25]]))
    assert tensor.nonzero() == 5


def test_a_code_equal_to_its_zero_point_is_a_zero() -> None:
    codes = np.array([[128, 130, 128], [0, 128, 255]], np.uint8)
    weight = Tensor("w", (2, 3), UINT8, codes.tobytes(), scale=(0.1,), zero_point=(128,))
    tensor = only(write(fully_connected(weight, 2, 3)))
    assert tensor.quantization is not None
    assert tensor.quantization.axis is None
    assert tensor.nonzero() == 3
    np.testing.assert_allclose(tensor.values(), (codes.astype(float) - 128) * 0.1, rtol=1e-6)


@pytest.mark.parametrize(("type_", "bits", "codes"), [
    (INT4, 4, CODES), (INT2, 2, np.clip(CODES, -2, 1)), (UINT4, 4, np.abs(CODES)),
])  # fmt: skip
def test_packed_codes_come_out_one_a_number(type_: int, bits: int, codes: np.ndarray) -> None:
    data = pack(codes, bits)
    tensor = only(write(fully_connected(Tensor("w", (2, 3), type_, data, scale=(1.0,)), 2, 3)))
    np.testing.assert_array_equal(tensor.array, codes)
    assert tensor.stored_bytes == len(data) == -(-6 * bits // 8)


def test_wide_biases_do_not_hide_narrow_weights() -> None:
    """int16x8 files: 8-bit weights, 64-bit biases."""
    tensors = [
        Tensor("x", (1, 3), INT16, scale=(0.5,)),
        Tensor("w", (2, 3), INT8, CODES.astype(np.int8).tobytes(), scale=(0.5,)),
        Tensor("b", (2,), INT64, np.array([3, -4], np.int64).tobytes(), scale=(0.25,)),
        Tensor("y", (1, 2), INT16, scale=(0.5,)),
    ]
    operator = Operator(FULLY_CONNECTED, (0, 1, 2), (3,), options=(8, schema.FullyConnectedOptionsT()))
    census = take_census(Model("tflite", write(Graph(tensors, [operator], (0,), (3,)))))
    assert census.quantized == 2
    assert census.saved_bits == 32 - 8


def test_float16_is_a_reduced_float_seen_through_dequantize() -> None:
    values = np.array([[1.0, 0.0], [-0.5, 2.0]], np.float16)
    tensors = [
        Tensor("x", (1, 2)),
        Tensor("half", (2, 2), FLOAT16, values.tobytes()),
        Tensor("full", (2, 2)),
        Tensor("y", (1, 2)),
    ]
    operators = [
        Operator(DEQUANTIZE, (1,), (2,)),
        Operator(FULLY_CONNECTED, (0, 2, -1), (3,), options=(8, schema.FullyConnectedOptionsT())),
    ]
    tensor = only(write(Graph(tensors, operators, (0,), (3,))))
    assert tensor.quantization is not None
    assert (tensor.dtype, tensor.quantization.scheme, tensor.operator) == (
        "float16",
        "float16",
        "FULLY_CONNECTED",
    )
    np.testing.assert_array_equal(tensor.values(), values.astype(np.float32))
    assert tensor.nonzero() == 3


def test_blockwise_scales_are_a_tensor_of_their_own_and_no_weight() -> None:
    codes = np.arange(-8, 8).repeat(4).reshape(2, 32)
    scales = np.array([[0.5, 1.0, 2.0, 4.0]] * 2, np.float16)
    tensors = [
        Tensor("x", (1, 32)),
        Tensor("w", (2, 32), INT4, pack(codes, 4), block=(3, 8)),
        Tensor("y", (1, 2)),
        Tensor("scales", (2, 4), FLOAT16, scales.tobytes()),
    ]
    operator = Operator(FULLY_CONNECTED, (0, 1, -1), (2,), options=(8, schema.FullyConnectedOptionsT()))
    tensor = only(write(Graph(tensors, [operator], (0,), (2,))))
    assert tensor.quantization is not None
    assert (tensor.quantization.group_size, tensor.quantization.axis) == (8, 1)
    np.testing.assert_array_equal(tensor.values(), codes * scales.astype(np.float32).repeat(8, axis=1))


def test_shapes_and_permutations_are_no_weights_and_a_shared_buffer_counts_once() -> None:
    tensors = [
        Tensor("x", (1, 4)),
        Tensor("w", (4, 4), FLOAT32, floats(np.eye(4))),
        Tensor("again", (4, 4), FLOAT32, buffer=1),
        Tensor("shape", (2,), INT32, np.array([1, 4], np.int32).tobytes()),
        Tensor("h", (1, 4)),
        Tensor("y", (1, 4)),
        Tensor("z", (1, 4)),
    ]
    options = (8, schema.FullyConnectedOptionsT())
    operators = [
        Operator(FULLY_CONNECTED, (0, 1, -1), (4,), options=options),
        Operator(RESHAPE, (4, 3), (5,)),
        Operator(FULLY_CONNECTED, (5, 2, -1), (6,), options=options),
    ]
    file = TFLiteFile(write(Graph(tensors, operators, (0,), (6,))))
    assert [tensor.name for tensor in file.tensors()] == ["w"]
    assert file.operators() == {"FULLY_CONNECTED": 2, "RESHAPE": 1}


@pytest.mark.parametrize(("name", "layer"), [
    ("torch.nn.modules.container.Sequential/torch.nn.modules.linear.Linear_10;1", "Linear_10"),
    ("a.Sequential/a.ReLU_2;;a.Sequential/a.BatchNorm2d_1;;a.Sequential/a.Conv2d_0;", "Conv2d_0"),
    ("cnn/conv2d_1/Relu;cnn/conv2d_1/BiasAdd;cnn/conv2d_1/Conv2D", "cnn/conv2d_1"),
    ("dense/MatMul", "dense"),
    ("w", "w"),
    (";", ";"),
])  # fmt: skip
def test_a_layer_is_named_as_its_author_knows_it(name: str, layer: str) -> None:
    assert layer_of(name) == layer


def test_custom_operators_are_named() -> None:
    graph = Graph(
        [Tensor("x", (1, 2)), Tensor("y", (1, 2))],
        [Operator(CUSTOM, (0,), (1,), custom="Wavelet")],
        (0,),
        (1,),
    )
    assert TFLiteFile(write(graph)).operators() == {"CUSTOM:Wavelet": 1}


def test_inputs_carry_the_names_of_the_signature_and_open_sizes() -> None:
    weight = Tensor("w", (2, 3), FLOAT32, floats(np.ones((2, 3))))
    assert TFLiteFile(write(fully_connected(weight, 2, 3, free=True))).inputs() == {
        "pixels": ((-1, 3), "float32")
    }
    assert TFLiteFile(write(fully_connected(weight, 2, 3, names=False))).inputs() == {
        "x": ((1, 3), "float32")
    }


# ------------------------------------------------------------------------------------------- sparse tensors


def csr(dense: np.ndarray) -> tuple[object, np.ndarray]:
    """`dense` [rows, columns] as dense rows of compressed columns: the parameters, and the numbers kept."""
    rows, columns = np.nonzero(dense)
    segments = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))])
    return _sparsity([0, 1], [], [_dense(len(dense)), _compressed(segments, columns)]), dense[rows, columns]


def blocks(dense: np.ndarray, width: int) -> tuple[object, np.ndarray]:
    """The same with blocks of `width` columns, each stored whole where one of its numbers is not zero."""
    grouped = dense.reshape(len(dense), -1, width)
    rows, columns = np.nonzero(grouped.any(axis=2))
    segments = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))])
    levels = [_dense(len(dense)), _compressed(segments, columns), _dense(width)]
    return _sparsity([0, 1, 2], [1], levels), grouped[rows, columns].reshape(-1)


def _dense(size: int) -> object:
    level = schema.DimensionMetadataT()
    level.format, level.denseSize = 0, size
    return level


def _compressed(segments: np.ndarray, indices: np.ndarray) -> object:
    level = schema.DimensionMetadataT()
    level.format = 1
    wide, narrow = schema.Int32VectorT(), schema.Uint8VectorT()
    wide.values, narrow.values = [int(each) for each in segments], [int(each) for each in indices]
    level.arraySegmentsType, level.arraySegments = 1, wide
    level.arrayIndicesType, level.arrayIndices = 3, narrow
    return level


def _sparsity(order: list[int], block_map: list[int], levels: list[object]) -> object:
    parameters = schema.SparsityParametersT()
    parameters.traversalOrder, parameters.blockMap, parameters.dimMetadata = order, block_map or None, levels
    return parameters


def densify_graph(sparsity: object, stored: np.ndarray, shape: tuple[int, int]) -> bytes:
    """A graph whose output is the dense form of its one sparse constant."""
    tensors = [Tensor("w", shape, FLOAT32, floats(stored), sparsity=sparsity), Tensor("y", shape)]
    return write(
        Graph(tensors, [Operator(DENSIFY, (0,), (1,), options=(99, schema.DensifyOptionsT()))], (), (1,))
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 4),
    st.sampled_from([1, 2, 4]),
    st.floats(0, 1),
    st.integers(0, 2**31),
    st.booleans(),
)
def test_a_sparse_tensor_comes_out_dense(
    rows: int, groups: int, width: int, density: float, seed: int, blocked: bool
) -> None:
    random = np.random.default_rng(seed)
    dense = np.where(
        random.random((rows, groups * width)) < density, random.standard_normal((rows, groups * width)), 0
    )
    dense = dense.astype(np.float32)
    sparsity, stored = blocks(dense, width) if blocked else csr(dense)
    assume(len(stored))  # an empty buffer is an activation, not a constant
    tensor = only(densify_graph(sparsity, stored, dense.shape))
    np.testing.assert_array_equal(tensor.array, dense)
    assert tensor.nonzero() == np.count_nonzero(dense)


def test_litert_reads_the_sparse_tensor_as_we_do() -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    dense = np.zeros((4, 8), np.float32)
    dense[0, 1], dense[2, 4:6], dense[3, 7] = 3.0, (1.0, -2.0), 0.5
    sparsity, stored = blocks(dense, 4)
    content = densify_graph(sparsity, stored, dense.shape)
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), dense)
    tensor = only(content)
    np.testing.assert_array_equal(tensor.array, dense)
    assert tensor.stored_bytes == 4 * 12 + 4 * 5 + 3  # numbers of three blocks, segments, indices


def test_zeros_of_a_sparse_quantized_tensor_are_its_zero_point() -> None:
    dense = np.array([[7, 0, 0, 9], [0, 0, 5, 0]], np.int64)
    sparsity, stored = csr(dense)
    weight = Tensor(
        "w", (2, 4), INT8, stored.astype(np.int8).tobytes(), scale=(0.5,), zero_point=(3,), sparsity=sparsity
    )
    tensor = only(write(fully_connected(weight, 2, 4)))
    np.testing.assert_array_equal(tensor.array, np.where(dense == 0, 3, dense))
    assert tensor.nonzero() == 3


# ---------------------------------------------------------------------------------------------- damaged files

SAMPLE = write(
    fully_connected(Tensor("w", (2, 3), INT8, CODES.astype(np.int8).tobytes(), scale=(0.5, 0.25)), 2, 3)
)
_sparse, _stored = csr(np.eye(4, dtype=np.float32))
SPARSE = densify_graph(_sparse, _stored, (4, 4))


def read_all(content: bytes) -> None:
    file = TFLiteFile(content, "m.tflite")
    list(file.tensors())
    file.operators()
    file.inputs()


def test_something_else_is_no_tflite() -> None:
    with pytest.raises(StageError, match=r"not a \.tflite file"):
        TFLiteFile(b"PK\x03\x04 a zip file", "m.tflite")


@pytest.mark.parametrize("keep", range(8, len(SAMPLE) - 8, max(1, len(SAMPLE) // 40)))
def test_a_file_cut_short_is_a_stage_error(keep: int) -> None:
    with pytest.raises(StageError, match=r"damaged|not a \.tflite"):
        read_all(SAMPLE[:keep])


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([SAMPLE, SPARSE]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_flipped_bytes_never_raise_anything_but_a_stage_error(
    content: bytes, flips: list[tuple[int, int]]
) -> None:
    broken = bytearray(content)
    for position, value in flips:
        broken[position % len(broken)] = value
    try:
        read_all(bytes(broken))
    except StageError as error:
        assert "m.tflite" in str(error)  # noqa: PT017 (a file that still reads is fine)


def test_a_weight_with_too_few_bytes_is_damage() -> None:
    content = write(fully_connected(Tensor("w", (2, 3), INT8, b"\x01\x02", scale=(1.0,)), 2, 3))
    with pytest.raises(StageError, match="'w' has 2 bytes"):
        read_all(content)


def test_scales_that_fit_no_axis_are_damage() -> None:
    weight = Tensor("w", (2, 3), INT8, CODES.astype(np.int8).tobytes(), scale=(1.0, 1.0, 1.0), axis=0)
    with pytest.raises(StageError, match="3 scales along axis 0"):
        read_all(write(fully_connected(weight, 2, 3)))


def test_a_sparse_shape_beyond_belief_is_refused() -> None:
    huge = densify_graph(_sparse, _stored, (1 << 20, 1 << 20))
    with pytest.raises(StageError, match="claims the shape"):
        read_all(huge)
