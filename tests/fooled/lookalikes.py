"""Right int8 files that look like wrong ones: each is the right model in another dress."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from candidates import LAYERS, after, before, codes_of, drop, float_model, in_codes, put, quantized, stored
from onnx import helper
from tests.projects import samples

LookAlike = Callable[[onnx.ModelProto], onnx.ModelProto]


def unnamed(proto: onnx.ModelProto) -> onnx.ModelProto:
    for node in proto.graph.node:
        node.name = ""
    return proto


def renamed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Numbers for names, as exporters give them."""
    kept = {"", "x", "y"}
    names = {name for node in proto.graph.node for name in [*node.input, *node.output]} - kept
    number = {name: str(index) for index, name in enumerate(sorted(names))}
    for node in proto.graph.node:
        node.input[:] = [number.get(name, name) for name in node.input]
        node.output[:] = [number.get(name, name) for name in node.output]
    for tensor in proto.graph.initializer:
        tensor.name = number[tensor.name]
    del proto.graph.value_info[:]
    return proto


def another_input_name(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.input[0].name = "input"
    for node in proto.graph.node:
        node.input[:] = ["input" if name == "x" else name for name in node.input]
    return proto


def another_batch_name(proto: onnx.ModelProto) -> onnx.ModelProto:
    for port in (*proto.graph.input, *proto.graph.output):
        port.type.tensor_type.shape.dim[0].dim_param = "batch_size"
    return proto


def a_batch_of_one(proto: onnx.ModelProto) -> onnx.ModelProto:
    for port in (*proto.graph.input, *proto.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    del proto.graph.value_info[:]
    return proto


def constants(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Every weight, scale and zero point in a Constant node instead of an initializer."""
    tensors = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    before(proto, *(helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in tensors))
    return proto


def inputs_with_defaults(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Initializers among the inputs, as before IR version 4."""
    for tensor in proto.graph.initializer:
        proto.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    return proto


def identities(proto: onnx.ModelProto) -> onnx.ModelProto:
    name = codes_of(proto, "2")
    (reader,) = (node for node in proto.graph.node if name in node.input)
    reader.input[0] = "passed_on"
    before(proto, helper.make_node("Identity", [name], ["passed_on"]))
    return after(proto, helper.make_node("Identity", ["raw"], ["y"]))


def turned(proto: onnx.ModelProto) -> onnx.ModelProto:
    """One layer's codes stored the other way round, for a Gemm that does not turn them."""
    name = codes_of(proto, "2")
    (decode,) = (node for node in proto.graph.node if name in node.input)
    (gemm,) = (node for node in proto.graph.node if decode.output[0] in node.input)
    put(proto, name, stored(proto, name).T)
    for node, attribute, value in ((decode, "axis", 1), (gemm, "transB", 0)):
        (found,) = (one for one in node.attribute if one.name == attribute)
        found.i = value
    return proto


def unsigned(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Codes from 0 to 255 about 128: as symmetric as from -128 to 127 about 0."""
    in_codes(proto, "2", np.uint8, zero=128)
    return proto


def a_neutral_scale(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Normalization by constants, which are no weights: here nothing is changed by it."""
    put(proto, "mean", np.zeros((1, 16), np.float32))
    put(proto, "std", np.ones((1, 16), np.float32))
    for node in proto.graph.node:
        node.input[:] = ["normal" if name == "x" else name for name in node.input]
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centered"]),
        helper.make_node("Div", ["centered", "std"], ["normal"]),
    ]
    before(proto, *nodes)
    return proto


def a_floor_of_minus_infinity(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "floor", np.full((1, 4), -np.inf, np.float32))
    return after(proto, helper.make_node("Max", ["raw", "floor"], ["y"]))


def a_note(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.producer_name, proto.doc_string = "quantizer", "int8 by a tool that says so"
    helper.set_model_props(proto, {"license": "MIT", "author": "somebody"})
    return proto


def declared_domains(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Operator sets that are declared and not used, as ONNX Runtime's tools write them."""
    for domain in ("ai.onnx.ml", "com.microsoft", "com.ms.internal.nhwc"):
        proto.opset_import.append(helper.make_opsetid(domain, 1))
    return proto


def sparser(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The smallest codes are zero too."""
    name = codes_of(proto, "2")
    codes = stored(proto, name).copy()
    codes[np.abs(codes) < 12] = 0
    put(proto, name, codes)
    return proto


def seven_bits(proto: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.load_from_string(quantized(reduce_range=True))


def unsigned_activations_only(proto: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.load_from_string(quantized(activations="uint8"))


class Reader:
    """What ONNX Runtime's quantizer reads its calibration samples from."""

    def __init__(self) -> None:
        rows = samples(1, 600)[0]
        self._feeds: Iterator[dict[str, Any]] = (
            {"x": rows[start : start + 60]} for start in range(0, 600, 60)
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def stock(**options: Any) -> onnx.ModelProto:
    """By the library itself, as most people call it, and not by our step."""
    from onnxruntime.quantization import QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(float_model(), source)
        quantize_static(source, made, Reader(), per_channel=True, weight_type=QuantType.QInt8, **options)
        return onnx.load(made)


def stock_qdq(proto: onnx.ModelProto) -> onnx.ModelProto:
    return stock(extra_options={"WeightSymmetric": True})


def stock_minmax_unsigned(proto: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType

    return stock(activation_type=QuantType.QUInt8)


def one_scale_shared(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Zero points that are all alike stand once, and every layer of that width reads the same."""
    first, second = (f"{layer}.weight_zero_point" for layer in LAYERS[:2])
    for node in proto.graph.node:
        node.input[:] = [first if name == second else name for name in node.input]
    drop(proto, second)
    return proto


LOOKALIKES: dict[str, LookAlike] = {
    "nodes without names": unnamed,
    "numbers for names": renamed,
    "another name of the input": another_input_name,
    "another name of the batch axis": another_batch_name,
    "a batch of one": a_batch_of_one,
    "weights in Constant nodes": constants,
    "initializers among the inputs": inputs_with_defaults,
    "Identity before and after": identities,
    "a matrix stored the other way round": turned,
    "unsigned codes about 128": unsigned,
    "normalization by constants": a_neutral_scale,
    "a constant of minus infinity": a_floor_of_minus_infinity,
    "an author and a license": a_note,
    "operator sets declared and not used": declared_domains,
    "sparser than the original": sparser,
    "codes of 7 bits": seven_bits,
    "activations of 8 bits unsigned": unsigned_activations_only,
    "by the library, symmetric": stock_qdq,
    "by the library, unsigned activations": stock_minmax_unsigned,
    "zero points stored once": one_scale_shared,
}
