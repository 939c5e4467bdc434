"""ONNX graphs as they are found: what a quantize step says it did is what it did, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper
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

from weighbridge.contracts import FORMATS, Context, Model
from weighbridge.core.coverage import Coverage
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.engines.onnxruntime import OnnxRuntimeSession
from weighbridge.steps.quantize.onnx_dynamic import DynamicOptions, dynamic

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
    assert set(after.coverage.sentences()) <= set(after.notes)


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
    from weighbridge.steps.quantize.onnx_steps import scheme

    nodes = [node("Conv", "x k", "a", "one"), node("Relu", "a", "y")]
    before = model(nodes, {"k": weight(16, 3, 3, 3)}, ["n", 3, 8, 8])
    floats = {"k": numpy_helper.to_array(before.value.graph.initializer[0])}
    options = DynamicOptions(per_channel=True, operators="all")
    context = Context(tmp_path, tmp_path, 0, Data())
    found = read_back(FORMATS.get("onnx").tensors(dynamic(before, options, context)), floats, scheme(options))
    assert "asked for per-channel, got per-tensor" in str(found.findings[0])
    plain = DynamicOptions(operators="all")
    right = read_back(FORMATS.get("onnx").tensors(dynamic(before, plain, context)), floats, scheme(plain))
    assert right.findings == ()


# ------------------------------------------------------------------------------------ ways of preparation


def broken(monkeypatch: pytest.MonkeyPatch, refuse: Callable[[dict[str, Any]], bool]) -> None:
    from onnxruntime.quantization import shape_inference

    honest = shape_inference.quant_pre_process

    def preprocess(*args: Any, **kwargs: Any) -> None:
        if refuse(kwargs):
            Path("sym_shape_infer_temp.onnx").write_bytes(b"as ONNX Runtime's own symbolic inference does")
            raise AssertionError("(n) does not merge with (m)")
        honest(*args, **kwargs)

    monkeypatch.setattr(shape_inference, "quant_pre_process", preprocess)


def test_the_next_way_is_taken_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, lambda options: not options["skip_symbolic_shape"])
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    after = quantize(tmp_path, three_layers(("",) * 5), "static")
    assert all(quantized(after).values())
    assert list(project.iterdir()) == []
    (note,) = after.notes
    assert note == (
        "the model was prepared with graph optimization, without symbolic shapes; with graph optimization "
        "and symbolic shapes it failed: AssertionError: (n) does not merge with (m)"
    )


def test_without_any_shape_inference_it_still_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, lambda options: True)
    after = quantize(tmp_path, three_layers(("",) * 5), "dynamic")
    assert all(quantized(after).values())
    assert after.notes[0].startswith("the model was prepared without shape inference; without graph")
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
