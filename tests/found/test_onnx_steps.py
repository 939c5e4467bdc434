"""ONNX graphs as they are found: what a quantize step says it did is what it did, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from weighbridge.contracts import FORMATS, Context, Model
from weighbridge.core.coverage import Coverage
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.engines.onnxruntime import OnnxRuntimeSession
from weighbridge.steps.quantize.onnxruntime import DynamicOptions, StaticOptions, dynamic, static

RANDOM = np.random.default_rng(7)


def weight(*shape: int) -> Any:
    return (RANDOM.standard_normal(shape) * 0.2).astype(np.float32)


def model(
    nodes: list[Any], weights: dict[str, Any], x: list[Any], outputs: tuple[str, ...] = ("y",)
) -> Model:
    """A graph of one input `x` at opset 17; the outputs' shapes are left open."""
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(
        nodes,
        "found",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        stored,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return Model("onnx", made)


def node(kind: str, inputs: str, output: str, name: str = "", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], name=name, **attributes)


def samples(float_model: Model, n: int = 64) -> Any:
    axes = float_model.value.graph.input[0].type.tensor_type.shape.dim
    shape = [axis.dim_value for axis in axes[1:]]
    return np.random.default_rng(1).standard_normal((n, *shape)).astype(np.float32)


def quantize(folder: Path, made: Model, mode: str, **options: Any) -> Model:
    """7-bit weights where nothing else is asked: without VNNI, ONNX Runtime's 8-bit sums saturate."""
    context = Context(folder, folder, 0, Data(splits={"calibration": (samples(made), np.zeros(64))}))
    options = {"reduce_range": True, **options}
    if mode == "dynamic":
        return dynamic(made, DynamicOptions.model_validate({"weights": "uint8", **options}), context)
    return static(made, StaticOptions.model_validate(options), context)


def decibel(before: Model, after: Model) -> float:
    """The signal to noise ratio of the quantized model's first output on samples."""
    x = samples(before)
    wanted, got = (
        OnnxRuntimeSession(each.value.SerializeToString()).run((x,))[0] for each in (before, after)
    )
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()))


def quantized(after: Model) -> dict[str, bool]:
    """Layer -> whether the step says that it converted it."""
    assert after.coverage is not None
    return {layer.name: layer.converted for layer in after.coverage.layers}


def stored(after: Model) -> dict[str, Any]:
    """The matrices and filters of the artifact, by name."""
    return {tensor.name: tensor for tensor in FORMATS.get("onnx").tensors(after) if tensor.array.ndim >= 2}


BOTH = pytest.mark.parametrize("mode", ["static", "dynamic"])


# ------------------------------------------------------------------------------------------ names of nodes


def three_layers(names: tuple[str, ...]) -> Model:
    nodes = [
        node("MatMul", "x layer1.weight", "a", names[0]),
        node("Relu", "a", "b", names[1]),
        node("MatMul", "b layer2.weight", "c", names[2]),
        node("Relu", "c", "d", names[3]),
        node("MatMul", "d layer3.weight", "y", names[4]),
    ]
    return model(nodes, {f"layer{number}.weight": weight(32, 32) for number in (1, 2, 3)}, ["n", 32])


@BOTH
@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize(
    "names", [("",) * 5, ("first", "", "", "", ""), ("MatMul_c", "", "", "", ""), ("a", "b", "c", "d", "e")]
)
def test_exclude_hits_the_named_layer_and_no_other(
    tmp_path: Path, mode: str, layer: int, names: tuple[str, ...]
) -> None:
    before = three_layers(names)
    after = quantize(tmp_path, before, mode, exclude=[f"layer{layer}"])
    assert quantized(after) == {f"layer{number}": number != layer for number in (1, 2, 3)}
    floats = {name for name, tensor in stored(after).items() if tensor.quantization is None}
    assert floats == {f"layer{layer}.weight"}
    assert any(note == f"layer{layer} (MatMul) left in float: `exclude` names it" for note in after.notes)
    assert decibel(before, after) > 15


@BOTH
def test_exclude_takes_a_type_and_a_wrong_one_is_said(tmp_path: Path, mode: str) -> None:
    before = model(
        [
            node("Conv", "x k", "a", "conv"),
            node("GlobalAveragePool", "a", "b"),
            node("Flatten", "b", "c"),
            node("MatMul", "c w", "y", "head"),
        ],
        {"k": weight(8, 3, 3, 3), "w": weight(8, 4)},
        ["n", 3, 8, 8],
    )
    assert quantized(quantize(tmp_path, before, mode, exclude=["Conv"])) == {"conv": False, "head": True}
    with pytest.raises(StageError, match=r"matches 'haed'; did you mean 'head'\?.*or a type: .*Conv"):
        quantize(tmp_path, before, mode, exclude=["haed"])


def test_a_node_that_preparation_removes_may_be_excluded(tmp_path: Path) -> None:
    before = model(
        [node("Identity", "w", "copy", "alias"), node("MatMul", "x copy", "y", "head")],
        {"w": weight(8, 4)},
        ["n", 8],
    )
    after = quantize(tmp_path, before, "static", exclude=["alias"])
    assert quantized(after) == {"head": True}
    assert "exclude: 'alias' fits only what was folded or fused away in preparation" in after.notes


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
    ("mode", "options"), [("dynamic", {}), ("static", {}), ("static", {"per_channel": True})]
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
    left = quantize(tmp_path, before, "dynamic")
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


# ------------------------------------------------------------------------------------------- what is told


def test_layers_without_an_integer_kernel_are_named(tmp_path: Path) -> None:
    hidden, size = 8, 6
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        helper.make_node("GRU", ["t", "w", "r"], ["", "last"], name="gru", hidden_size=hidden),
        node("Squeeze", "last axis", "z"),
        node("MatMul", "z v", "y", "head"),
    ]
    weights = {
        "w": weight(1, 3 * hidden, size),
        "r": weight(1, 3 * hidden, hidden),
        "axis": np.array([0]),
        "v": weight(hidden, 4),
    }
    after = quantize(tmp_path, model(nodes, weights, ["n", 5, size]), "dynamic")
    assert after.coverage is not None
    told = after.coverage.to_json()
    assert (told["asked"], told["convertible"], told["converted"]) == (2, 1, 1)
    (gru,) = [layer for layer in told["layers"] if layer["kind"] == "GRU"]
    assert gru["reason"] == "ONNX Runtime's dynamic quantization has no integer kernel for GRU"
    assert Coverage.from_json(told) == after.coverage
    assert after.notes == after.coverage.sentences()


@pytest.mark.parametrize("activations", ["int16", "uint16"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_eight_bit_weights_beside_wide_activations(
    tmp_path: Path, activations: str, per_channel: bool
) -> None:
    nodes = [
        node("Gemm", "x w1 c1", "a", "in"),
        node("Relu", "a", "b"),
        node("MatMul", "b w2", "c", "mid"),
        node("MatMul", "c w3", "y", "out"),
    ]
    weights = {"w1": weight(32, 64), "c1": weight(64), "w2": weight(64, 64), "w3": weight(64, 3)}
    before = model(nodes, weights, ["n", 32])
    after = quantize(
        tmp_path, before, "static", activations=activations, per_channel=per_channel, reduce_range=False
    )
    assert {tensor.quantization.bits for tensor in stored(after).values()} == {8}
    assert decibel(before, after) > 28


def test_per_channel_that_dynamic_convolutions_ignore_is_found(tmp_path: Path) -> None:
    from weighbridge.numerics.round_trip import read_back
    from weighbridge.steps.quantize.onnxruntime import scheme

    nodes = [node("Conv", "x k", "a", "one"), node("Relu", "a", "y")]
    before = model(nodes, {"k": weight(16, 3, 3, 3)}, ["n", 3, 8, 8])
    floats = {"k": numpy_helper.to_array(before.value.graph.initializer[0])}
    options = DynamicOptions(per_channel=True)
    context = Context(tmp_path, tmp_path, 0, Data())
    found = read_back(FORMATS.get("onnx").tensors(dynamic(before, options, context)), floats, scheme(options))
    assert "asked for per-channel, got per-tensor" in str(found.findings[0])
    plain = DynamicOptions()
    right = read_back(FORMATS.get("onnx").tensors(dynamic(before, plain, context)), floats, scheme(plain))
    assert right.findings == ()


# ------------------------------------------------------------------------------------ ways of preparation


def broken(monkeypatch: pytest.MonkeyPatch, refuse: Callable[[dict[str, Any]], bool]) -> None:
    from onnxruntime.quantization import shape_inference

    honest = shape_inference.quant_pre_process

    def preprocess(*args: Any, **kwargs: Any) -> None:
        if refuse(kwargs):
            raise AssertionError("(n) does not merge with (m)")
        honest(*args, **kwargs)

    monkeypatch.setattr(shape_inference, "quant_pre_process", preprocess)


def test_the_next_way_is_taken_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, lambda options: not options["skip_symbolic_shape"])
    after = quantize(tmp_path, three_layers(("",) * 5), "static")
    assert all(quantized(after).values())
    (note,) = after.notes
    assert note == (
        "the model was prepared with graph optimization, without symbolic shapes, since with graph optimization "
        "and symbolic shapes: AssertionError: (n) does not merge with (m)"
    )


def test_without_any_shape_inference_it_still_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, lambda options: True)
    after = quantize(tmp_path, three_layers(("",) * 5), "dynamic")
    assert all(quantized(after).values())
    assert after.notes[0].startswith("the model was prepared without shape inference, since without graph")
    assert after.notes[0].count("does not merge") == 1, "each reason once"


def test_the_first_way_needs_no_word(tmp_path: Path) -> None:
    assert quantize(tmp_path, three_layers(("",) * 5), "static").notes == ()


def test_what_no_way_can_do_names_the_step_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxruntime import quantization

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ValueError("no rule for this")

    monkeypatch.setattr(quantization, "quantize_dynamic", refuse)
    with pytest.raises(
        StageError, match=r"^quantize \(quantize: dynamic\): .*`exclude`\. .*no rule for this"
    ):
        quantize(tmp_path, three_layers(("",) * 5), "dynamic")


@pytest.mark.parametrize(
    ("mode", "options"), [("dynamic", {}), ("static", {}), ("static", {"per_channel": True})]
)
def test_dead_channels_and_a_dead_layer_stay_zero(tmp_path: Path, mode: str, options: dict[str, Any]) -> None:
    first, second = weight(16, 32), np.zeros((32, 32), np.float32)
    first[:, 5:9] = 0
    nodes = [
        node("MatMul", "x first", "a", "one"),
        node("Relu", "a", "b"),
        node("Gemm", "b second c", "d", "two"),
        node("MatMul", "d last", "y", "three"),
    ]
    weights = {"first": first, "second": second, "c": weight(32), "last": weight(32, 4)}
    before = model(nodes, weights, ["n", 16])
    after = quantize(tmp_path, before, mode, **options)
    kept = stored(after)
    assert not kept["first"].values()[:, 5:9].any()
    assert not kept["second"].values().any()
    assert all(quantized(after).values())
    x = samples(before)
    wanted, got = (
        OnnxRuntimeSession(each.value.SerializeToString()).run((x,))[0] for each in (before, after)
    )
    np.testing.assert_allclose(got, wanted, atol=0.05)
