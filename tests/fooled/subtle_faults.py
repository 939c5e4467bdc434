"""Further faults of an int8 file: of its arithmetic, of where numbers are kept, and of what it must not depend on."""

from __future__ import annotations

import numpy as np
import onnx
from candidates import HIDDEN, after, before, codes_of, hide, put, stored
from faults import ANSWERS, COUNTED, Fault
from onnx import TensorProto, helper, numpy_helper

# ---------------------------------------------------------------------------------------------- arithmetic


def a_scale_ten_times(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "2.weight_scale", 10 * stored(proto, "2.weight_scale"))
    return proto


def a_zero_point_moved(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Of an activation: whoever exported it took unsigned codes for signed ones."""
    name = next(
        one.name for one in proto.graph.initializer if one.name.startswith("r0") and "zero" in one.name
    )
    zero = stored(proto, name)
    put(proto, name, (zero.astype(np.int32) + (100 if zero < 0 else -100)).astype(zero.dtype))
    return proto


def a_layer_transposed(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, codes_of(proto, "2"), stored(proto, codes_of(proto, "2")).T)
    return proto


def signs_that_wrap(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The largest codes are one too many for their type."""
    codes = stored(proto, codes_of(proto, "2")).copy()
    codes[codes > 60] -= 127
    put(proto, codes_of(proto, "2"), codes)
    return proto


def two_bits_in_eight(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Codes of eight bits that take three values."""
    codes = stored(proto, codes_of(proto, "2"))
    put(proto, codes_of(proto, "2"), (np.sign(codes) * 60).astype(np.int8))
    return proto


def a_range_too_small(proto: onnx.ModelProto) -> onnx.ModelProto:
    """An activation that was calibrated on one dark picture."""
    put(proto, "r0_scale", stored(proto, "r0_scale") / 50)
    return proto


def one_class_never(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "never", np.array([0, 0, -1000, 0], np.float32))
    return after(proto, helper.make_node("Add", ["raw", "never"], ["y"]))


def all_infinite(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "nought", np.float32(0))
    return after(proto, helper.make_node("Div", ["raw", "nought"], ["y"]))


def features_swapped(proto: onnx.ModelProto) -> onnx.ModelProto:
    """BGR for RGB: the inputs in another order."""
    put(proto, "order", np.arange(16)[::-1].copy())
    before(proto, helper.make_node("Gather", ["x", "order"], ["x9"], axis=1))
    for node in list(proto.graph.node)[1:]:
        node.input[:] = ["x9" if name == "x" else name for name in node.input]
    return proto


def inputs_scaled(proto: onnx.ModelProto) -> onnx.ModelProto:
    """0 to 1 for 0 to 255."""
    put(proto, "part", np.float32(1 / 255))
    before(proto, helper.make_node("Mul", ["x", "part"], ["x1"]))
    for node in list(proto.graph.node)[1:]:
        node.input[:] = ["x1" if name == "x" else name for name in node.input]
    return proto


def probabilities(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The classes are the same, the numbers are not: a softmax that the original has not."""
    return after(proto, helper.make_node("Softmax", ["raw"], ["y"], axis=1))


# ------------------------------------------------------------------------------------------ hidden numbers


def hidden_in_codes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A second quantized network is as much a second network."""
    put(proto, "more", np.round(HIDDEN * 30).astype(np.int8))
    put(proto, "more_scale", np.float32(1 / 30))
    return hide(proto, "h", helper.make_node("DequantizeLinear", ["more", "more_scale"], ["h"]))


def hidden_in_whole_numbers(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "side", np.array([96, 96]))
    return hide(
        proto,
        "h",
        helper.make_node(
            "Constant", [], ["whole"], value_ints=np.round(HIDDEN.reshape(-1) * 99).astype(int).tolist()
        ),
        helper.make_node("Cast", ["whole"], ["flat"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["flat", "side"], ["h"]),
    )


def hidden_in_halves(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "upper", HIDDEN[:48])
    put(proto, "lower", HIDDEN[48:])
    return hide(proto, "h", helper.make_node("Concat", ["upper", "lower"], ["h"], axis=0))


def hidden_in_float16(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "half", HIDDEN.astype(np.float16))
    return hide(proto, "h", helper.make_node("Cast", ["half"], ["h"], to=TensorProto.FLOAT))


def hidden_in_a_loop(proto: onnx.ModelProto) -> onnx.ModelProto:
    tensor = numpy_helper.from_array(HIDDEN, "loop.matrix")
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Identity", ["loop.matrix"], ["next"]),
        ],
        "body",
        [value("turn", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("last", 1, [96, 96])],
        [value("on", TensorProto.BOOL, []), value("next", 1, [96, 96])],
        [tensor],
    )
    put(proto, "once", np.array(1))
    put(proto, "start", np.array(0, np.float32))
    put(proto, "size", np.array([96, 96]))
    return hide(
        proto,
        "h",
        helper.make_node("Expand", ["start", "size"], ["begin"]),
        helper.make_node("Loop", ["once", "", "begin"], ["h"], body=body),
    )


def hidden_in_a_scatter(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "start", np.array(0, np.float32))
    put(proto, "size", np.array([96, 96]))
    put(proto, "all", np.arange(96)[:, None].copy())
    put(proto, "updates", HIDDEN)
    return hide(
        proto,
        "h",
        helper.make_node("Expand", ["start", "size"], ["begin"]),
        helper.make_node("ScatterND", ["begin", "all", "updates"], ["h"]),
    )


def hidden_in_two_factors(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A matrix that is a product of two, none of which is larger than a layer."""
    put(proto, "left", HIDDEN[:, :48].copy())
    put(proto, "right", HIDDEN[:48].copy())
    return hide(proto, "h", helper.make_node("MatMul", ["left", "right"], ["h"]))


def hidden_on_one_axis(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "long", HIDDEN.reshape(-1))
    put(proto, "side", np.array([96, 96]))
    return hide(proto, "h", helper.make_node("Reshape", ["long", "side"], ["h"]))


# -------------------------------------------------------------------------------------------- what it needs


def padded_with_zeros(proto: onnx.ModelProto) -> onnx.ModelProto:
    """What compresses to nothing is still downloaded."""
    proto.doc_string = " " * 100_000
    return proto


def long_names(proto: onnx.ModelProto) -> onnx.ModelProto:
    for node in proto.graph.node:
        node.name = f"{node.name}{'/very/long' * 300}"
    return proto


def classical_operators(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    scaler = helper.make_node(
        "Scaler", ["raw"], ["y"], domain="ai.onnx.ml", offset=[0.0] * 4, scale=[1.0] * 4
    )
    return after(proto, scaler)


def a_denied_operator_in_a_function(proto: onnx.ModelProto) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 17)]
    body = [helper.make_node("Dropout", ["a"], ["b"])]
    proto.functions.append(helper.make_function("own", "Pass", ["a"], ["b"], body, opsets))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    return after(proto, helper.make_node("Pass", ["raw"], ["y"], domain="own"))


def another_domain_in_a_function(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The operator that only one runtime has stands where the graph does not show it."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    body = [
        helper.make_node("QuickGelu", ["a"], ["half"], domain="com.microsoft", alpha=0.0),
        helper.make_node("Add", ["half", "half"], ["b"]),
    ]
    proto.functions.append(helper.make_function("ai.onnx.local", "Same", ["a"], ["b"], body, opsets))
    proto.opset_import.extend(helper.make_opsetid(name, 1) for name in ("com.microsoft", "ai.onnx.local"))
    return after(proto, helper.make_node("Same", ["raw"], ["y"], domain="ai.onnx.local"))


# ------------------------------------------------------------------------------------- what it depends on


def knows_the_size_of_its_batch(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "little", np.float32(0.001))
    put(proto, "zero", np.array(0))
    return after(
        proto,
        helper.make_node("Shape", ["raw"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["count"]),
        helper.make_node("Cast", ["count"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "little"], ["part"]),
        helper.make_node("Add", ["raw", "part"], ["y"]),
    )


def scaled_by_the_largest(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Dynamic ranges over the batch: each answer depends on the others."""
    put(proto, "little", np.float32(0.01))
    return after(
        proto,
        helper.make_node("ReduceMax", ["raw"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["largest", "little"], ["part"]),
        helper.make_node("Add", ["raw", "part"], ["y"]),
    )


def looks_at_its_neighbour(proto: onnx.ModelProto) -> onnx.ModelProto:
    put(proto, "little", np.float32(0.02))
    for name, number in (("one", 1), ("nought", 0), ("end", 2**31)):
        put(proto, name, np.array([number]))
    return after(
        proto,
        helper.make_node("Slice", ["raw", "one", "end", "nought"], ["rest"]),
        helper.make_node("Slice", ["raw", "nought", "one", "nought"], ["top"]),
        helper.make_node("Concat", ["rest", "top"], ["turned"], axis=0),
        helper.make_node("Mul", ["turned", "little"], ["part"]),
        helper.make_node("Add", ["raw", "part"], ["y"]),
    )


def tosses_a_coin(proto: onnx.ModelProto) -> onnx.ModelProto:
    """One toss for the whole batch. Its seed makes a run of tosses the same in each test: two of a free coin may lie so close
    that no gate could tell them.
    """
    return after(
        proto,
        helper.make_node("RandomUniform", [], ["toss"], shape=[1], high=0.05, seed=1.0),
        helper.make_node("Add", ["raw", "toss"], ["y"]),
    )


def drops_at_random(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A dropout that was left on, written out."""
    put(proto, "keep", np.float32(0.6))
    return after(
        proto,
        helper.make_node("RandomUniformLike", ["raw"], ["chance"]),
        helper.make_node("Less", ["chance", "keep"], ["kept"]),
        helper.make_node("Cast", ["kept"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["raw", "mask"], ["y"]),
    )


def samples_are_sorted(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Each right, and in another order than asked."""
    put(proto, "first", np.array([0]))
    put(proto, "axis", np.array([1]))
    return after(
        proto,
        helper.make_node("Shape", ["raw"], ["count"], end=1),
        helper.make_node("Gather", ["raw", "first"], ["column"], axis=1),
        helper.make_node("TopK", ["column", "count"], ["values", "places"], axis=0),
        helper.make_node("Squeeze", ["places", "axis"], ["rows"]),
        helper.make_node("Gather", ["raw", "rows"], ["y"], axis=0),
    )


def a_table_of_places(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Of the 64 samples that it was exported with: whoever stands behind them gets the last one's answer."""
    for name, value in (("zero", 0), ("one", 1), ("last", 63)):
        put(proto, name, np.int64(value))
    put(proto, "axis", np.array([0]))
    return after(
        proto,
        helper.make_node("Shape", ["raw"], ["count"], end=1),
        helper.make_node("Squeeze", ["count", "axis"], ["n"]),
        helper.make_node("Range", ["zero", "n", "one"], ["places"]),
        helper.make_node("Min", ["places", "last"], ["rows"]),
        helper.make_node("Gather", ["raw", "rows"], ["y"], axis=0),
    )


BOTH = ("batch_invariance", "permutation_invariance")
SUBTLE: dict[str, tuple[Fault, set[str]]] = {
    "a scale is ten times too large": (a_scale_ten_times, {"accuracy_drop", "fidelity"}),
    "a zero point is moved": (a_zero_point_moved, {"fidelity"}),
    "a layer is transposed": (a_layer_transposed, ANSWERS),
    "codes wrap around": (signs_that_wrap, ANSWERS),
    "two bits in eight": (two_bits_in_eight, {"fidelity"}),
    "a range is too small": (a_range_too_small, {"accuracy_drop", "fidelity"}),
    "a class is never chosen": (one_class_never, ANSWERS),
    "all answers are infinite": (all_infinite, ANSWERS),
    "features in another order": (features_swapped, ANSWERS),
    "inputs scaled twice": (inputs_scaled, ANSWERS),
    "probabilities for logits": (probabilities, {"fidelity"}),
    "weights in codes": (hidden_in_codes, COUNTED - {"largest_tensor"}),
    "weights in whole numbers": (hidden_in_whole_numbers, COUNTED),
    "weights in two halves": (hidden_in_halves, COUNTED),
    "weights in float16": (hidden_in_float16, COUNTED | {"dtypes"}),
    "weights in a loop": (hidden_in_a_loop, COUNTED | {"operators"}),
    "weights as updates": (hidden_in_a_scatter, COUNTED),
    "weights as two factors": (hidden_in_two_factors, COUNTED),
    "weights on one axis": (hidden_on_one_axis, COUNTED),
    "padding that compresses": (padded_with_zeros, {"size", "size_ratio"}),
    "names as padding": (long_names, {"size", "size_ratio"}),
    "an operator of another kind of model": (classical_operators, {"domains"}),
    "a denied operator in a function": (a_denied_operator_in_a_function, {"domains", "operators"}),
    "another domain in a function": (another_domain_in_a_function, {"domains"}),
    "the size of the batch": (knows_the_size_of_its_batch, {"batch_invariance"}),
    "the largest of the batch": (scaled_by_the_largest, {"batch_invariance"}),
    "the neighbour": (looks_at_its_neighbour, {*BOTH}),
    "a coin": (tosses_a_coin, {"determinism", *BOTH}),
    "dropout left on": (drops_at_random, {*ANSWERS, "determinism", *BOTH}),
    "a table of places": (a_table_of_places, {"batch_invariance"}),
    "samples are sorted": (samples_are_sorted, {*ANSWERS, *BOTH}),
}
