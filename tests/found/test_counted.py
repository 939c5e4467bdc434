"""Models that people met with other tools, by public bug reports; each gives the right answer here.

The tied table: microsoft/onnxruntime#21277. The recurrent tagger: microsoft/onnxruntime#5747 and #18671. The empty
tensors: microsoft/onnxruntime#9635. The constant operands: microsoft/onnxruntime#17278.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.projects import report_of, statuses, weigh, write_samples

Array = Any


def build(nodes: Sequence[Any], stored: dict[str, Array], inputs: Any, outputs: Any) -> Any:
    def ports(shapes: dict[str, Any]) -> list[Any]:
        return [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if name == "ids" else TensorProto.FLOAT, shape
            )
            for name, shape in shapes.items()
        ]

    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph(list(nodes), "g", ports(inputs), ports(outputs), tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


def floats(seed: int, *shape: int, scale: float = 0.2) -> Array:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), list(outputs), name=f"{kind}_{outputs[0]}", **attributes)


def tied() -> Any:
    """A table of words that, turned, is also the output layer."""
    nodes = [
        node("Gather", ["table", "ids"], ["e"]), node("MatMul", ["e", "mix"], ["a"]), node("Relu", ["a"], ["b"]),
        node("Transpose", ["table"], ["turned"], perm=[1, 0]), node("MatMul", ["b", "turned"], ["y"]),
    ]  # fmt: skip
    stored = {"table": floats(1, 500, 48, scale=0.3), "mix": floats(2, 48, 48)}
    return build(nodes, stored, {"ids": ["n", 5]}, {"y": ["n", 5, 500]})


HIDDEN, TAKEN = 64, 32
RECURRENT = 4 * HIDDEN * (TAKEN + HIDDEN) + 8 * HIDDEN


def tagger(head: bool) -> Any:
    stored = {
        "w": floats(3, 1, 4 * HIDDEN, TAKEN), "r": floats(4, 1, 4 * HIDDEN, HIDDEN), "b": floats(5, 1, 8 * HIDDEN),
        "axes": np.array([0]),
    }  # fmt: skip
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("LSTM", ["xt", "w", "r", "b"], ["all", "last", "cell"], hidden_size=HIDDEN),
        node("Squeeze", ["last", "axes"], ["z" if head else "y"]),
    ]
    if head:
        stored["out"] = floats(6, HIDDEN, 5)
        nodes.append(node("MatMul", ["z", "out"], ["y"]))
    return build(nodes, stored, {"x": ["n", 7, TAKEN]}, {"y": ["n", 5 if head else HIDDEN]})


def upsampling() -> Any:
    """Resize with an empty `roi` and empty `scales`, and a tensor of no channels in a Concat."""
    stored = {
        "k1": floats(7, 8, 3, 3, 3), "k2": floats(8, 4, 16, 3, 3), "roi": floats(0, 0), "scales": floats(0, 0),
        "sizes": np.array([1, 8, 16, 16]), "none": floats(0, 1, 0, 16, 16),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "k1"], ["a"], pads=[1] * 4), node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", ["p", "roi", "scales", "sizes"], ["u"], mode="nearest"), node("Concat", ["a", "u", "none"], ["c"], axis=1),
        node("Conv", ["c", "k2"], ["y"], pads=[1] * 4),
    ]  # fmt: skip
    return build(nodes, stored, {"x": [1, 3, 16, 16]}, {"y": [1, 4, 16, 16]})


def preprocessing() -> Any:
    """(x - mean) / std inside the file, and learned positions that are added."""
    stored = {
        "mean": np.full((1, 3, 1, 1), 0.45, np.float32), "std": np.full((1, 3, 1, 1), 0.22, np.float32),
        "k": floats(9, 16, 3, 4, 4),
        "shape": np.array([0, 16, 16]), "positions": floats(10, 1, 16, 16, scale=0.3), "w": floats(11, 16, 4),
    }  # fmt: skip
    nodes = [
        node("Sub", ["x", "mean"], ["a"]), node("Div", ["a", "std"], ["b"]),
        node("Conv", ["b", "k"], ["c"], strides=[4, 4], kernel_shape=[4, 4]), node("Reshape", ["c", "shape"], ["d"]),
        node("Transpose", ["d"], ["e"], perm=[0, 2, 1]), node("Add", ["e", "positions"], ["f"]),
        node("MatMul", ["f", "w"], ["y"]),
    ]  # fmt: skip
    return build(nodes, stored, {"x": ["n", 3, 16, 16]}, {"y": ["n", 16, 4]})


@pytest.fixture
def gate(pytester: pytest.Pytester) -> Callable[..., dict[str, str]]:
    """Weighs a model with these thresholds; gives status by threshold, `round_trip` included."""

    def run(proto: Any, step: str, thresholds: str, data: str = "") -> dict[str, str]:
        folder = pytester.mkdir("cases")
        onnx.save(proto, folder / "net.onnx")
        (folder / "data.py").write_text(data)
        (port,) = proto.graph.input
        shape = [axis.dim_value for axis in port.type.tensor_type.shape.dim[1:]]
        rest = "data: data.py:splits\n" if data else write_samples(folder, {"x": shape})
        text = f"model: {{onnx: net.onnx}}\n{rest}recipe: [{{{step}}}]\nthresholds: {{{thresholds}}}\n"
        (folder / "net.yaml").write_text(text)
        pytester.runpytest_inprocess()
        return {verdict["threshold"]: verdict["status"] for verdict in row(pytester)["verdicts"]}

    return run


def row(pytester: pytest.Pytester) -> dict[str, Any]:
    (only,) = report_of(pytester.path)["rows"]
    return only


WORDS = (
    "import numpy as np\n"
    "def splits():\n"
    "    r = np.random.default_rng(1)\n"
    "    return {s: ((r.integers(0, 500, (n, 5)),), None) for s, n in (('test', 64), ('calibration', 32))}\n"
)


def test_a_tied_table_is_counted_and_stored_once(gate: Any, pytester: pytest.Pytester) -> None:
    numbers = 500 * 48 + 48 * 48
    limits = f"size_ratio: 3, quantized: 1.0, fidelity: 15, parameters: {{equals: {numbers}}}, nonzero: {{min: {0.9 * numbers}}}"
    assert set(gate(tied(), "quantize: dynamic", limits, WORDS).values()) == {"pass"}


def test_a_table_that_the_quantizer_stored_twice_is_named(gate: Any, pytester: pytest.Pytester) -> None:
    found = gate(
        tied(), "quantize: static, per_channel: true", "size_ratio: 3, fidelity: 15, nonzero_ratio: 1", WORDS
    )
    assert found == {"size_ratio": "fail", "fidelity": "pass", "nonzero_ratio": "fail", "round_trip": "pass"}
    (size,) = (one for one in row(pytester)["verdicts"] if one["threshold"] == "size_ratio")
    assert any("'table' is stored twice" in line and "24 kB" in line for line in size["advice"]), size[
        "advice"
    ]


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("per_channel", ["false", "true"])
def test_recurrent_weights_are_counted(gate: Any, head: bool, per_channel: str) -> None:
    numbers = RECURRENT + (HIDDEN * 5 if head else 0)
    limits = f"size_ratio: 3, quantized: 1.0, fidelity: 15, parameters: {{equals: {numbers}}}, nonzero_ratio: {{min: 0.9}}"
    found = gate(tagger(head), f"quantize: dynamic, per_channel: {per_channel}", limits)
    assert set(found.values()) == {"pass"}, found


def test_budgets_that_a_recurrent_network_misses(gate: Any) -> None:
    limits = "parameters: 1000, nonzero_ratio: 0.5, nonzero: 1000, largest_tensor: 5 kB"
    found = gate(tagger(True), "quantize: dynamic", limits)
    assert found == {
        **dict.fromkeys(["parameters", "nonzero_ratio", "nonzero", "largest_tensor"], "fail"),
        "round_trip": "pass",
    }


@pytest.mark.parametrize(
    "step", ["quantize: static, per_channel: true", "quantize: dynamic, weights: uint8, operators: all"]
)
def test_tensors_without_elements(gate: Any, step: str, recwarn: pytest.WarningsRecorder) -> None:
    limits = "fidelity: 20, quantized: 1.0, nonzero_ratio: 0.999, largest_tensor: 2 kB, parameters: 900"
    found = gate(upsampling(), step, limits)
    assert set(found.values()) == {"pass"}, found
    assert not [str(one.message) for one in recwarn if "empty slice" in str(one.message)]


def test_constant_operands_are_no_weights_of_the_recipe(gate: Any) -> None:
    """`reduce_range`, since processors without VNNI lose 14 dB of this model to sums that do not fit 16 bits."""
    step = "quantize: static, per_channel: true, reduce_range: true"
    found = gate(preprocessing(), step, "fidelity: 20")
    assert set(found.values()) == {"pass"}, found


MATRICES = [floats(20, 16, 96), floats(21, 96, 96), floats(22, 96, 4)]


def plain() -> Any:
    stored = {f"w{i}": matrix for i, matrix in enumerate(MATRICES)}
    nodes = [
        node("MatMul", ["x", "w0"], ["a"]),
        node("MatMul", ["a", "w1"], ["b"]),
        node("MatMul", ["b", "w2"], ["y"]),
    ]
    return build(nodes, stored, {"x": ["n", 16]}, {"y": ["n", 4]})


def hidden_in_sparse() -> Any:
    proto = plain()
    for tensor in list(proto.graph.initializer):
        array = numpy_helper.to_array(tensor)
        values = numpy_helper.from_array(array.reshape(-1), tensor.name)
        indices = numpy_helper.from_array(np.arange(array.size), "")
        proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, list(array.shape)))
    del proto.graph.initializer[:]
    return proto


def sparse_outside(folder: Path) -> Any:
    """The values of the sparse tensors in a file of their own."""
    proto = hidden_in_sparse()
    raw = b""
    for one in proto.graph.sparse_initializer:
        one.values.external_data.add(key="location", value="values.bin")
        one.values.external_data.add(key="offset", value=str(len(raw)))
        one.values.external_data.add(key="length", value=str(len(one.values.raw_data)))
        raw += one.values.raw_data
        one.values.ClearField("raw_data")
        one.values.data_location = onnx.TensorProto.EXTERNAL
    (folder / "values.bin").write_bytes(raw)
    return proto


def hidden_in_lists() -> Any:
    proto = plain()
    lists = []
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        lists += [
            helper.make_node(
                "Constant", [], [f"{tensor.name}_list"], value_floats=array.reshape(-1).tolist()
            ),
            helper.make_node("Constant", [], [f"{tensor.name}_shape"], value_ints=list(array.shape)),
            helper.make_node("Reshape", [f"{tensor.name}_list", f"{tensor.name}_shape"], [tensor.name]),
        ]
    del proto.graph.initializer[:]
    nodes = [*lists, *(onnx.NodeProto.FromString(one.SerializeToString()) for one in proto.graph.node)]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


@pytest.mark.parametrize("make", [plain, hidden_in_sparse, hidden_in_lists])
def test_weights_cannot_be_hidden(pytester: pytest.Pytester, make: Callable[[], Any]) -> None:
    folder: Path = pytester.mkdir("cases")
    onnx.save(plain(), folder / "net.onnx")
    (folder / "candidate.onnx").write_bytes(make().SerializeToString())
    limits = "nonzero: 2000, parameters: 2000, largest_tensor: 5 kB"
    (folder / "net.yaml").write_text(
        f"model: {{onnx: net.onnx}}\ncandidate: {{onnx: candidate.onnx}}\nthresholds: {{{limits}}}\n"
    )
    pytester.runpytest_inprocess()
    assert set(statuses(pytester.path).values()) == {"fail"}
    (verdict,) = (one for one in row(pytester)["verdicts"] if one["threshold"] == "parameters")
    assert verdict["measured"] == sum(matrix.size for matrix in MATRICES)


def test_the_file_of_a_sparse_tensor_belongs_to_the_model(tmp_path: Path) -> None:
    onnx.save(plain(), tmp_path / "net.onnx")
    (tmp_path / "candidate.onnx").write_bytes(sparse_outside(tmp_path).SerializeToString())
    found = weigh(
        tmp_path,
        "model: {onnx: net.onnx}\ncandidate: {onnx: candidate.onnx}\nthresholds: {size: 1 MB, parameters: 1e6}\n",
    ).result
    size, parameters = found.verdict("size"), found.verdict("parameters")
    assert size is not None
    assert parameters is not None
    files = [tmp_path / name for name in ("candidate.onnx", "values.bin")]
    assert size.measured == sum(path.stat().st_size for path in files)
    assert parameters.measured == sum(matrix.size for matrix in MATRICES)
