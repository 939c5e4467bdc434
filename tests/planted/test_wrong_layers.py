"""Faults planted in an int8 file are findings of `round_trip`; what ONNX Runtime does right is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from pydantic import Field
from tests.projects import write_samples

from weighbridge.contracts import STEPS, Context, Model, Options, Step

LAYERS, WIDTH = 20, 24
MIDDLE = "layer7.weight"


def info(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes: list[Any], stored: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> Any:
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()]
    made = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, tensors),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def deep() -> Any:
    """Twenty square matrices of unlike columns, one after the other."""
    random = np.random.default_rng(5)
    nodes, stored, last = [], {}, "x"
    for i in range(LAYERS):
        columns = random.uniform(0.5, 4, WIDTH)
        stored[f"layer{i}.weight"] = (random.normal(0, 0.2, (WIDTH, WIDTH)) * columns / 2).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [last, f"layer{i}.weight"], [f"h{i}"], name=f"mm{i}"))
        nodes.append(helper.make_node("Tanh", [f"h{i}"], [f"t{i}"], name=f"tanh{i}"))
        last = f"t{i}"
    return model(nodes, stored, [info("x", ["n", WIDTH])], [info(last, ["n", WIDTH])])


def replace(proto: Any, name: str, array: Any) -> None:
    (tensor,) = (one for one in proto.graph.initializer if one.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))


def array(proto: Any, name: str) -> Any:
    (tensor,) = (one for one in proto.graph.initializer if one.name == name)
    return numpy_helper.to_array(tensor)


CODES, SCALE, ZERO = f"{MIDDLE}_quantized", f"{MIDDLE}_scale", f"{MIDDLE}_zero_point"


def zeroed(proto: Any, floats: Any) -> None:
    replace(proto, CODES, np.zeros_like(array(proto, CODES)))


def shuffled(proto: Any, floats: Any) -> None:
    replace(proto, CODES, np.random.default_rng(0).permutation(array(proto, CODES)))


def transposed(proto: Any, floats: Any) -> None:
    replace(proto, CODES, array(proto, CODES).T)


def scaled(proto: Any, floats: Any) -> None:
    replace(proto, SCALE, array(proto, SCALE) * np.float32(1.5))


def of_another_layer(proto: Any, floats: Any) -> None:
    for end in ("_quantized", "_scale"):
        replace(proto, MIDDLE + end, array(proto, f"layer8.weight{end}"))


def per_tensor(proto: Any, floats: Any) -> None:
    scale = np.float32(np.abs(floats[MIDDLE]).max() / 127)
    replace(proto, CODES, np.round(floats[MIDDLE] / scale).astype(np.int8))
    replace(proto, SCALE, scale)
    replace(proto, ZERO, np.int8(0))


def zero_points(proto: Any, floats: Any) -> None:
    replace(proto, ZERO, np.full_like(array(proto, ZERO), 3))


def left_in_float(proto: Any, floats: Any) -> None:
    """The layer's float matrix again, where its dequantized one was read."""
    (node,) = (one for one in proto.graph.node if one.op_type == "DequantizeLinear" and one.input[0] == CODES)
    readers = [one for one in proto.graph.node if node.output[0] in one.input]
    for reader in readers:
        reader.input[list(reader.input).index(node.output[0])] = MIDDLE
    proto.graph.node.remove(node)
    for name in (CODES, SCALE, ZERO):
        proto.graph.initializer.remove(next(one for one in proto.graph.initializer if one.name == name))
    proto.graph.initializer.append(numpy_helper.from_array(floats[MIDDLE], MIDDLE))


FAULTS: dict[str, tuple[Callable[[Any, Any], None], str]] = {
    "zeroed": (zeroed, ""),
    "shuffled": (shuffled, "layer7: *more than half a step away*"),
    "transposed": (transposed, "layer7: *more than half a step away*"),
    "scaled": (scaled, "layer7: *codes are left unused*"),
    "of_another_layer": (of_another_layer, "layer7: *more than half a step away*"),
    "per_tensor": (per_tensor, "layer7: asked for per-channel, got per-tensor*"),
    "zero_points": (zero_points, "layer7: asked for symmetric, got zero point 3 in channel 0, not 0*"),
    "left_in_float": (
        left_in_float,
        "layer7: asked for weights of 8 bits, 'layer7.weight' of a MatMul is left in float*",
    ),
}


class Planted(Options):
    fault: Literal[
        "zeroed",
        "shuffled",
        "transposed",
        "scaled",
        "of_another_layer",
        "per_tensor",
        "zero_points",
        "left_in_float",
        "none",
    ]
    per_channel: bool = True
    exclude: list[str] = Field(default_factory=list)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """`quantize: planted`: ONNX Runtime's static quantizer, and then a fault."""
    monkeypatch.setattr(STEPS, "_entries", {name: STEPS.get(name) for name in STEPS.names()})
    honest = STEPS.get("quantize:static@onnxruntime")

    def options(given: Planted) -> Any:
        return honest.options.model_validate({"per_channel": given.per_channel, "exclude": given.exclude})

    def apply(source: Model, given: Planted, context: Context) -> Model:
        floats = {one.name: numpy_helper.to_array(one) for one in source.value.graph.initializer}
        result = honest.apply(source, options(given), context)
        if given.fault != "none":
            FAULTS[given.fault][0](result.value, floats)
        return result

    assert honest.scheme is not None
    scheme = honest.scheme
    STEPS.add(
        "quantize:planted@onnxruntime",
        Step(
            "quantize", "planted", ("onnx",), Planted, apply, engine="onnxruntime", must="quantize",
            splits=("calibration",), scheme=lambda given: scheme(options(given)),
        ),
    )  # fmt: skip


def run(pytester: pytest.Pytester, proto: Any, step: str) -> Any:
    folder = pytester.mkdir("cases")
    onnx.save(proto, folder / "net.onnx")
    (port,) = proto.graph.input
    data = write_samples(folder, {"x": [axis.dim_value for axis in port.type.tensor_type.shape.dim[1:]]})
    (folder / "net.yaml").write_text(
        f"model: {{onnx: net.onnx}}\n{data}recipe: [{{{step}}}]\nthresholds: {{size: 1 GB}}\n"
    )
    return pytester.runpytest_inprocess()


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("fault", FAULTS)
def test_one_layer_of_twenty_is_wrong(pytester: pytest.Pytester, fault: str) -> None:
    result = run(pytester, deep(), f"quantize: planted, engine: onnxruntime, fault: {fault}")
    if fault == "zeroed":  # nothing of the input comes through it
        result.assert_outcomes(errors=2)
        result.stdout.fnmatch_lines("*the candidate gives the same output for * different samples*")
        return
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(f"*{FAULTS[fault][1]}")


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("pattern", ["layer7", "layer7.weight", "mm7"])
def test_a_layer_that_was_to_stay_in_float(pytester: pytest.Pytester, pattern: str) -> None:
    run(pytester, deep(), f"quantize: static, per_channel: true, exclude: [{pattern}]").assert_outcomes(
        passed=2
    )


def with_bias(value: float) -> Any:
    """A bias so large beside its weights that int32 codes of the usual scale cannot hold it."""
    random = np.random.default_rng(6)
    weights = random.normal(0, 0.2, (WIDTH, 8)).astype(np.float32)
    weights[:, 0] *= 1e-6
    bias = np.zeros(8, np.float32)
    bias[0] = value
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="dense")
    return model([node], {"w": weights, "b": bias}, [info("x", ["n", WIDTH])], [info("y", ["n", 8])])


def masked() -> Any:
    """Attention scores to which a mask of minus infinity is added."""
    random = np.random.default_rng(8)
    stored = {
        "q": random.normal(0, 0.2, (16, 16)).astype(np.float32), "k": random.normal(0, 0.2, (16, 16)).astype(np.float32),
        "mask": np.triu(np.full((6, 6), -np.inf, np.float32), 1)[None],
    }  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "q"], ["xq"], name="q"), helper.make_node("MatMul", ["x", "k"], ["xk"], name="k"),
        helper.make_node("Transpose", ["xk"], ["kt"], perm=[0, 2, 1], name="t"),
        helper.make_node("MatMul", ["xq", "kt"], ["s"], name="s"),
        helper.make_node("Add", ["s", "mask"], ["m"], name="m"), helper.make_node("Softmax", ["m"], ["y"], name="y"),
    ]  # fmt: skip
    return model(nodes, stored, [info("x", ["n", 6, 16])], [info("y", ["n", 6, 6])])


def constants_of_all_kinds() -> Any:
    """Operands of Sub, Div, Mul, Add, Concat and Gather beside two matrices; a Gemm that is stored turned."""
    random = np.random.default_rng(9)
    stored = {
        "mean": random.normal(0, 1, (1, 16)).astype(np.float32), "std": random.uniform(1, 2, (1, 16)).astype(np.float32),
        "gain": random.uniform(1, 2, (16, 1, 16)).astype(np.float32), "w": random.normal(0, 0.2, (16, 16)).astype(np.float32),
        "place": random.normal(0, 1, (16, 1, 16)).astype(np.float32), "more": random.normal(0, 1, (16, 1, 16)).astype(np.float32),
        "table": random.normal(0, 1, (16, 16)).astype(np.float32), "order": np.arange(16)[::-1].copy(),
        "turned": random.normal(0, 0.2, (16, 16)).astype(np.float32), "flat": np.array([-1, 16]),
    }  # fmt: skip
    chain = [
        ("Sub", ["x", "mean"]), ("Div", ["a0", "std"]), ("MatMul", ["a1", "w"]), ("Mul", ["a2", "gain"]),
        ("Add", ["a3", "place"]), ("Concat", ["a4", "more"]),
    ]  # fmt: skip
    nodes = [
        helper.make_node(kind, inputs, [f"a{i}"], name=f"n{i}", **({"axis": 1} if kind == "Concat" else {}))
        for i, (kind, inputs) in enumerate(chain)
    ]
    nodes += [
        helper.make_node("Gather", ["table", "order"], ["rows"], name="rows"),
        helper.make_node("Reshape", ["a5", "flat"], ["long"], name="long"),
        helper.make_node("Gemm", ["long", "turned"], ["g"], transB=1, name="gemm"),
        helper.make_node("MatMul", ["g", "rows"], ["y"], name="last"),
    ]
    return model(nodes, stored, [info("x", [16, 1, 16])], [info("y", [32, 16])])


def with_gain() -> Any:
    """A matrix times a gain, which preparation multiplies once and for all: other numbers in the same shape."""
    random = np.random.default_rng(10)
    stored = {
        "w": random.normal(0, 0.2, (WIDTH, WIDTH)).astype(np.float32),
        "gain": random.uniform(1, 3, (1, WIDTH)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Mul", ["w", "gain"], ["wide"], name="gain"),
        helper.make_node("MatMul", ["x", "wide"], ["y"], name="dense"),
    ]
    return model(nodes, stored, [info("x", ["n", WIDTH])], [info("y", ["n", WIDTH])])


STATIC = "quantize: static, per_channel: true"
RIGHT = {
    "twenty layers": (deep, STATIC),
    "twenty layers, dynamic": (deep, "quantize: dynamic, per_channel: true"),
    "a bias that is too wide": (lambda: with_bias(300.0), STATIC),
    "a mask of minus infinity": (masked, STATIC),
    "a gain, static": (with_gain, STATIC),
    "a gain, dynamic": (with_gain, "quantize: dynamic"),
    "operands, static": (constants_of_all_kinds, STATIC),
    "operands, dynamic": (constants_of_all_kinds, "quantize: dynamic"),
    "operands, dynamic per channel": (constants_of_all_kinds, "quantize: dynamic, per_channel: true"),
}


@pytest.mark.parametrize("what", RIGHT)
def test_what_is_right_is_not_accused(pytester: pytest.Pytester, what: str) -> None:
    make, step = RIGHT[what]
    run(pytester, make(), step).assert_outcomes(passed=2)


def test_the_bias_really_widened_the_scale(tmp_path: Path) -> None:
    """The look-alike above is one: without the bias the scale is another."""
    from weighbridge.core.data import Data

    step = STEPS.get("quantize:static@onnxruntime")
    data = Data(
        splits={"calibration": (np.random.default_rng(1).normal(size=(32, WIDTH)).astype(np.float32), None)}
    )
    scales = [
        array(
            step.apply(
                Model("onnx", with_bias(value)),
                step.options.model_validate({"per_channel": True}),
                Context(tmp_path, tmp_path, 0, data),
            ).value,
            "w_scale",
        )
        for value in (0.0, 300.0)
    ]
    assert scales[1][0] > 1.5 * scales[0][0]
    np.testing.assert_allclose(scales[1][1:], scales[0][1:])
