"""What can be wrong with an int8 file: each fault is a function from the right model to a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from candidates import (
    HIDDEN,
    after,
    before,
    codes_of,
    float_model,
    hide,
    in_codes,
    in_float,
    put,
    stored,
)
from onnx import TensorProto, helper, numpy_helper

Fault = Callable[[onnx.ModelProto], onnx.ModelProto]


def swapped_classes(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "order", np.array([1, 0, 2, 3]))
    return after(proto, helper.make_node("Gather", ["raw", "order"], ["y"], axis=1))


def doubled(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "two", np.float32(2))
    return after(proto, helper.make_node("Mul", ["raw", "two"], ["y"]))


def shifted(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A preprocessing that is done twice."""
    put(proto, "three", np.float32(3))
    before(proto, helper.make_node("Add", ["x", "three"], ["x3"]))
    for node in list(proto.graph.node)[1:]:
        node.input[:] = ["x3" if name == "x" else name for name in node.input]
    return proto


def constant(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "nothing", np.float32(0))
    put(proto, "one", np.array([1, 0, 0, 0], np.float32))
    nodes = [
        helper.make_node("Mul", ["raw", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "one"], ["y"]),
    ]
    return after(proto, *nodes)


def without_biases(proto: onnx.ModelProto) -> onnx.ModelProto:
    for tensor in [one for one in proto.graph.initializer if ".bias" in one.name and "quantized" in one.name]:
        if not tensor.name.endswith(("_scale", "_zero_point")):
            put(proto, tensor.name, 0 * numpy_helper.to_array(tensor))
    return proto


def one_layer_shuffled(proto: onnx.ModelProto) -> onnx.ModelProto:
    name = codes_of(proto, "2")
    put(proto, name, np.random.default_rng(0).permutation(stored(proto, name).reshape(-1)).reshape(96, 96))
    return proto


def one_layer_zero(proto: onnx.ModelProto) -> onnx.ModelProto:
    name = codes_of(proto, "2")
    put(proto, name, 0 * stored(proto, name))
    return proto


def not_a_number(proto: onnx.ModelProto) -> onnx.ModelProto:
    """NaN where the first input is negative: every second sample."""
    put(proto, "first", np.array([0]))
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["x0"], axis=1),
        helper.make_node("Sqrt", ["x0"], ["root"]),
        helper.make_node("Mul", ["root", "small"], ["little"]),
        helper.make_node("Add", ["raw", "little"], ["y"]),
    ]
    put(proto, "small", np.float32(1e-9))
    return after(proto, *nodes)


def padded(proto: onnx.ModelProto) -> onnx.ModelProto:
    random = np.random.default_rng(0)
    helper.set_model_props(proto, {"notes": random.integers(0, 2**60, 6000).tobytes().hex()})
    return proto


def unread(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "nobody.reads.this", np.tile(HIDDEN, (2, 1)))
    return proto


def still_float(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A tool that says int8 and writes the float model."""
    made = float_model()
    made.producer_name = "quantizer"
    return made


def one_layer_in_float(proto: onnx.ModelProto) -> onnx.ModelProto:
    in_float(proto, "4")
    return proto


def in_float64(proto: onnx.ModelProto) -> onnx.ModelProto:
    in_float(proto, "4", np.float64)
    return proto


def in_float16(proto: onnx.ModelProto) -> onnx.ModelProto:
    in_float(proto, "4", np.float16)
    return proto


def one_layer_per_tensor(proto: onnx.ModelProto) -> onnx.ModelProto:
    in_codes(proto, "2", np.int8, per_tensor=True)
    (node,) = (one for one in proto.graph.node if codes_of(proto, "2") in one.input)
    del node.attribute[:]
    return proto


def one_layer_asymmetric(proto: onnx.ModelProto) -> onnx.ModelProto:
    in_codes(proto, "2", np.int8, zero=5)
    return proto


def sixteen_bits(proto: onnx.ModelProto) -> onnx.ModelProto:
    in_codes(proto, "2", np.int16)
    proto.opset_import[0].version = 21
    proto.ir_version = 10
    return proto


def zeros_filled(proto: onnx.ModelProto) -> onnx.ModelProto:
    """What was pruned is there again, as small as it can be."""
    codes = stored(proto, codes_of(proto, "2")).copy()
    codes[codes == 0] = 1
    put(proto, codes_of(proto, "2"), codes)
    return proto


def hidden_in_a_constant(proto: onnx.ModelProto) -> onnx.ModelProto:
    return hide(
        proto, "h", helper.make_node("Constant", [], ["h"], value=numpy_helper.from_array(HIDDEN, "h"))
    )


def hidden_in_a_list(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "side", np.array([96, 96]))
    return hide(
        proto,
        "h",
        helper.make_node("Constant", [], ["flat"], value_floats=HIDDEN.reshape(-1).tolist()),
        helper.make_node("Reshape", ["flat", "side"], ["h"]),
    )


def hidden_behind_a_cast(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "bytes", np.round(HIDDEN * 20).astype(np.int8))
    put(proto, "step", np.float32(0.05))
    return hide(
        proto,
        "h",
        helper.make_node("Cast", ["bytes"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "step"], ["h"]),
    )


def hidden_in_a_table(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "table", HIDDEN)
    put(proto, "rows", np.arange(96)[::-1].copy())
    return hide(proto, "h", helper.make_node("Gather", ["table", "rows"], ["h"]))


def hidden_in_a_sparse_tensor(proto: onnx.ModelProto) -> onnx.ModelProto:
    values = numpy_helper.from_array(HIDDEN.reshape(-1), "sparse")
    indices = numpy_helper.from_array(np.arange(HIDDEN.size), "sparse_indices")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [96, 96]))
    return hide(proto, "h", helper.make_node("Identity", ["sparse"], ["h"]))


def hidden_in_a_branch(proto: onnx.ModelProto) -> onnx.ModelProto:
    def branch(name: str, array: Any) -> onnx.GraphProto:
        tensor = numpy_helper.from_array(array, f"{name}.matrix")
        node = helper.make_node("Identity", [tensor.name], [name])
        return helper.make_graph(
            [node], name, [], [helper.make_tensor_value_info(name, 1, [96, 96])], [tensor]
        )

    put(proto, "always", np.array(True))
    made = helper.make_node(
        "If", ["always"], ["h"], then_branch=branch("then", HIDDEN), else_branch=branch("else", HIDDEN[::-1])
    )
    return hide(proto, "h", made)


def hidden_in_a_function(proto: onnx.ModelProto) -> onnx.ModelProto:
    body = [helper.make_node("Constant", [], ["out"], value=numpy_helper.from_array(HIDDEN, "inside"))]
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("ai.onnx.local", "Matrix", [], ["out"], body, opsets))
    proto.opset_import.append(helper.make_opsetid("ai.onnx.local", 1))
    return hide(proto, "h", helper.make_node("Matrix", [], ["h"], domain="ai.onnx.local"))


def another_domain(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same arithmetic by an operator that only one runtime has."""
    node = next(one for one in proto.graph.node if one.op_type == "DequantizeLinear")
    node.domain = "com.microsoft"
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return proto


def newer_operators(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.opset_import[0].version = 21
    proto.ir_version = 10
    return proto


def a_denied_operator(proto: onnx.ModelProto) -> onnx.ModelProto:
    return after(proto, helper.make_node("Dropout", ["raw"], ["y"]))


def mixes_the_batch(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "little", np.float32(0.05))
    put(proto, "over", np.array([0]))
    return after(
        proto,
        helper.make_node("ReduceMean", ["raw"], ["mean"], axes=[0]),
        helper.make_node("Mul", ["mean", "little"], ["part"]),
        helper.make_node("Add", ["raw", "part"], ["y"]),
    )


def knows_its_place(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The first of a batch is answered otherwise than the last."""
    put(proto, "little", np.float32(0.002))
    put(proto, "axis", np.array(0))
    return after(
        proto,
        helper.make_node("CumSum", ["raw", "axis"], ["sums"]),
        helper.make_node("Mul", ["sums", "little"], ["part"]),
        helper.make_node("Add", ["raw", "part"], ["y"]),
    )


def draws(proto: onnx.ModelProto) -> onnx.ModelProto:
    return after(
        proto,
        helper.make_node("RandomNormalLike", ["raw"], ["noise"], scale=0.05),
        helper.make_node("Add", ["raw", "noise"], ["y"]),
    )


BYTES = {"size", "size_ratio", "gzip_ratio", "weights_ratio"}
NUMBERS = {"parameters", "nonzero", "nonzero_ratio", "quantized"}
COUNTED = BYTES | NUMBERS | {"largest_tensor"}
"""What a second float matrix, as large as the largest layer, is caught by."""
ANSWERS = {"accuracy", "accuracy_drop", "fidelity"}

FAULTS: dict[str, tuple[Fault, set[str]]] = {
    "two classes are swapped": (swapped_classes, ANSWERS),
    "outputs are doubled": (doubled, {"fidelity"}),
    "the input is shifted twice": (shifted, ANSWERS),
    "one answer for everything": (constant, ANSWERS),
    "biases are forgotten": (without_biases, {"fidelity"}),
    "a layer is shuffled": (one_layer_shuffled, ANSWERS),
    "a layer is zero": (one_layer_zero, ANSWERS),
    "half of the answers are NaN": (not_a_number, ANSWERS),
    "the file is padded": (padded, {"size", "size_ratio", "gzip_ratio"}),
    "a tensor that nobody reads": (unread, COUNTED),
    "still float": (still_float, BYTES | {"quantized", "largest_tensor"}),
    "one layer in float": (one_layer_in_float, {"quantized"}),
    "one layer in float64": (in_float64, {"quantized", "dtypes"}),
    "one layer in float16": (in_float16, {"quantized", "dtypes"}),
    "one layer per tensor": (one_layer_per_tensor, {"quantized"}),
    "one layer asymmetric": (one_layer_asymmetric, {"quantized"}),
    "one layer in 16 bits": (sixteen_bits, BYTES - {"gzip_ratio"} | {"quantized", "largest_tensor", "opset"}),
    "zeros are filled": (zeros_filled, {"nonzero", "nonzero_ratio"}),
    "weights in a Constant node": (hidden_in_a_constant, COUNTED),
    "weights in a list of floats": (hidden_in_a_list, COUNTED),
    "weights behind Cast and Mul": (hidden_behind_a_cast, COUNTED - {"largest_tensor"}),
    "weights in a table": (hidden_in_a_table, COUNTED),
    "weights in a sparse tensor": (hidden_in_a_sparse_tensor, COUNTED),
    "weights in a branch": (hidden_in_a_branch, COUNTED | {"operators"}),
    "weights in a function": (hidden_in_a_function, COUNTED | {"domains"}),
    "an operator of another domain": (another_domain, {"domains"}),
    "a newer opset": (newer_operators, {"opset"}),
    "an operator that is denied": (a_denied_operator, {"operators"}),
    "a mean over the batch": (mixes_the_batch, {"batch_invariance"}),
    "a sum along the batch": (knows_its_place, {"batch_invariance", "permutation_invariance"}),
    "noise": (draws, {"determinism", "batch_invariance", "permutation_invariance"}),
}
