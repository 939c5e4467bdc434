"""`quantize: static` with `form: qoperator`: integer operators in the file, the same numbers, and what it has none for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper
from pydantic import ValidationError
from tests.found.onnx_graphs import (
    decibel,
    findings,
    kinds,
    model,
    node,
    quantize,
    quantized,
    stored,
    weight,
)

from weighbridge.contracts import STEPS, Model
from weighbridge.steps.quantize.onnx_static import StaticOptions

ALL: dict[str, Any] = {"float_share": 0}
QOPERATOR: dict[str, Any] = {**ALL, "form": "qoperator"}


def network() -> Model:
    nodes = [
        node("Conv", "x k1 c1", "a", "one", pads=[1] * 4),
        node("Relu", "a", "b", "act1"),
        node("Conv", "b k2 c2", "c", "two", pads=[1] * 4),
        node("Add", "b c", "d", "sum"),
        node("Relu", "d", "e", "act2"),
        node("GlobalAveragePool", "e", "f", "pool"),
        node("Flatten", "f", "g", "flat"),
        node("Gemm", "g w1 c3", "h", "dense"),
        node("Relu", "h", "i", "act3"),
        node("MatMul", "i w2", "y", "last"),
    ]
    weights = {
        "k1": weight(8, 3, 3, 3), "c1": weight(8), "k2": weight(8, 8, 3, 3), "c2": weight(8), "w1": weight(8, 24),
        "c3": weight(24), "w2": weight(24, 5),
    }  # fmt: skip
    return model(nodes, weights, ["n", 3, 8, 8])


@pytest.mark.parametrize("bias_correction", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_the_file_has_integer_operators_and_the_same_numbers(
    tmp_path: Path, per_channel: bool, bias_correction: bool
) -> None:
    before = network()
    options = {"per_channel": per_channel, "bias_correction": bias_correction}
    after, other = (quantize(tmp_path, before, "static", **form, **options) for form in (QOPERATOR, ALL))
    assert {"QLinearConv", "QGemm", "QLinearMatMul"} <= kinds(after).keys()
    assert not {"Conv", "Gemm", "MatMul"} & kinds(after).keys()
    assert quantized(after) == dict.fromkeys(("one", "two", "dense", "last"), True)
    for name, tensor in stored(after).items():
        assert tensor.quantization is not None, name
        assert (tensor.array == stored(other)[name].array).all(), name
    assert len(after.value.SerializeToString()) < len(other.value.SerializeToString())
    assert decibel(before, after) > 25


def test_what_has_no_integer_operator_stays_in_float_and_is_named(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x k", "a", "one", pads=[1] * 4),
        node("Relu", "a", "b", "act"),
        node("ConvTranspose", "b t", "y", "up"),
    ]
    before = model(nodes, {"k": weight(8, 3, 3, 3), "t": weight(8, 4, 2, 2)}, ["n", 3, 8, 8])
    after = quantize(tmp_path, before, "static", **QOPERATOR)
    assert kinds(after)["ConvTranspose"] == 1
    assert any("no integer kernel for ConvTranspose" in note for note in after.notes)
    assert decibel(before, after) > 25
    assert "ConvTranspose" in kinds(quantize(tmp_path, before, "static", **ALL))
    assert not any("ConvTranspose" in note for note in quantize(tmp_path, before, "static", **ALL).notes)


def test_unsigned_weights_of_convolutions_are_what_there_is_or_the_layer_stays_in_float(
    tmp_path: Path,
) -> None:
    """With a scale a channel ONNX Runtime makes int8 of them, which is not what was asked for."""
    before = network()
    options: dict[str, Any] = {**QOPERATOR, "weights": "uint8"}
    for per_channel, left in ((True, {"one", "two"}), (False, set())):
        asked = {**options, "per_channel": per_channel}
        after = quantize(tmp_path, before, "static", **asked)
        assert {name for name, converted in quantized(after).items() if not converted} == left
        assert any("gets int8 weights only" in note for note in after.notes) is per_channel
        dtypes = {tensor.dtype for tensor in stored(after).values() if tensor.quantization}
        assert dtypes == {"uint8"}
        assert decibel(before, after) > 25


@pytest.mark.parametrize("activations", ["int16", "uint16"])
def test_there_are_no_integer_operators_of_sixteen_bits(activations: str) -> None:
    with pytest.raises(ValidationError, match="no operators for 16-bit activations; use `form: qdq`"):
        StaticOptions.model_validate({"form": "qoperator", "activations": activations})


@pytest.mark.parametrize("fault", [None, "a scale", "a filter"])
def test_the_round_trip_finds_a_wrong_file(fault: str | None, tmp_path: Path) -> None:
    before = network()
    after = quantize(tmp_path, before, "static", **QOPERATOR, reduce_range=False)
    tensors = {each.name: each for each in after.value.graph.initializer}
    if fault == "a scale":
        (convolution,) = (each for each in after.value.graph.node if each.name.startswith("two"))
        scale = tensors[convolution.input[4]]
        scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.5), scale.name))
    if fault == "a filter":
        codes = numpy_helper.to_array(tensors["k2_quantized"]).copy()
        codes[3] = codes[4]
        tensors["k2_quantized"].CopyFrom(numpy_helper.from_array(codes, "k2_quantized"))
    step = STEPS.get("quantize:static@onnxruntime")
    assert step.scheme is not None
    options = StaticOptions.model_validate({**QOPERATOR, "reduce_range": False})
    found = findings(before, after, step.scheme(options))
    assert bool(found) == (fault is not None), found
