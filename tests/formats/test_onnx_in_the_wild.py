"""ONNX files as they are found: each gives a right result or a clear error, never a silent lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.projects import Weighed, weigh, write_samples

from weighbridge.core.results import Status

Array = Any
RANDOM = np.random.default_rng(0)
W1, W2 = (RANDOM.standard_normal(shape).astype(np.float32) / 6 for shape in ((16, 64), (64, 4)))


DYNAMIC, STATIC = "quantize: dynamic", "quantize: static, per_channel: true"


def info(name: str, shape: Sequence[Any], type_: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, type_, shape)


def model(
    nodes: Sequence[Any],
    initializers: dict[str, Array],
    inputs: Sequence[Any],
    outputs: Sequence[Any] = (),
    opset: int = 17,
    domains: Sequence[tuple[str, int]] = (),
) -> Any:
    graph = helper.make_graph(
        list(nodes),
        "g",
        list(inputs),
        list(outputs) or [info("y", ["n", 4])],
        [numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(*domain) for domain in domains)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=10 if opset > 11 else 6)
    onnx.checker.check_model(made)
    return made


def two_layers(first: str = "w1", second: str = "w2") -> list[Any]:
    return [
        helper.make_node("MatMul", ["x", first], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", second], ["y"], name="second"),
    ]


def plain(batch: Any = "n", opset: int = 17) -> Any:
    return model(two_layers(), {"w1": W1, "w2": W2}, [info("x", [batch, 16])], [info("y", [batch, 4])], opset)


def constants() -> Any:
    """Weights in Constant nodes, as some exporters write them."""
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array, name))
        for name, array in (("w1", W1), ("w2", W2))
    ]
    return model([*nodes, *two_layers()], {}, [info("x", ["n", 16])])


def body() -> Any:
    """The second layer stands in both bodies of an If."""

    def branch(name: str) -> Any:
        node = helper.make_node("MatMul", ["r", f"w_{name}"], [f"y_{name}"])
        weight = numpy_helper.from_array(W2, f"w_{name}")
        return helper.make_graph([node], name, [], [info(f"y_{name}", ["n", 4])], [weight])

    nodes = [
        *two_layers()[:2],
        helper.make_node("ReduceSum", ["r"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=branch("then"), else_branch=branch("else")),
    ]
    return model(nodes, {"w1": W1, "zero": np.float32(0)}, [info("x", ["n", 16])])


def all_in_bodies() -> Any:
    def branch(name: str) -> Any:
        node = helper.make_node("MatMul", ["x", f"w_{name}"], [f"y_{name}"])
        weight = numpy_helper.from_array(RANDOM.standard_normal((16, 4)).astype(np.float32), f"w_{name}")
        return helper.make_graph([node], name, [], [info(f"y_{name}", ["n", 4])], [weight])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=branch("then"), else_branch=branch("else")),
    ]
    return model(nodes, {"zero": np.float32(0)}, [info("x", ["n", 16])])


def tokens() -> Any:
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["e"]),
        helper.make_node("ReduceMean", ["e"], ["x"], axes=[1], keepdims=0),
        *two_layers(),
    ]
    table = RANDOM.standard_normal((2, 16)).astype(np.float32)
    return model(nodes, {"table": table, "w1": W1, "w2": W2}, [info("tokens", ["n", 6], TensorProto.INT64)])


def fp16() -> Any:
    half = TensorProto.FLOAT16
    return model(
        two_layers(),
        {"w1": W1.astype(np.float16), "w2": W2.astype(np.float16)},
        [info("x", ["n", 16], half)],
        [info("y", ["n", 4], half)],
    )


def with_state() -> Any:
    """A recurrent cell: the state goes in and comes out, shape [1, n, 4], its batch on the second axis."""
    nodes = [*two_layers(), helper.make_node("Unsqueeze", ["y", "axis"], ["state"])]
    return model(
        nodes,
        {"w1": W1, "w2": W2, "axis": np.array([0])},
        [info("x", ["n", 16])],
        [info("y", ["n", 4]), info("state", [1, "n", 4])],
    )


def weights_as_inputs() -> Any:
    """Before IR 4 each initializer was listed among the inputs too."""
    made = model(
        two_layers(), {"w1": W1, "w2": W2}, [info("x", ["n", 16]), info("w1", [16, 64]), info("w2", [64, 4])]
    )
    made.ir_version = 3
    return made


def write_samples_of(folder: Path, made: Any) -> str:
    """Samples for each input of the model that is no initializer."""
    stored = {tensor.name for tensor in made.graph.initializer}
    inputs = {one.name: one.type.tensor_type for one in made.graph.input if one.name not in stored}
    shapes = {name: [axis.dim_value for axis in type_.shape.dim[1:]] for name, type_ in inputs.items()}
    integers = [name for name, type_ in inputs.items() if type_.elem_type == TensorProto.INT64]
    return write_samples(folder, shapes, integers)


def weigh_onnx(folder: Path, made: Any, step: str, rest: str = "", thresholds: str = "size: 1 GB") -> Weighed:
    onnx.save(made, folder / "model.onnx")
    if step == STATIC and "data:" not in rest:  # nothing is calibrated on invented samples
        rest += write_samples_of(folder, made)
    return weigh(
        folder, f"model: {{onnx: model.onnx}}\nrecipe: [{{{step}}}]\nthresholds: {{{thresholds}}}\n{rest}"
    )


def quantized(outcome: Weighed) -> None:
    assert outcome.status is Status.PASS, outcome.message
    assert 12 < outcome.measurements["fidelity"].candidate < 80
    assert outcome.steps[0].after.quantized >= 2


@pytest.mark.parametrize("step", [DYNAMIC, STATIC])
@pytest.mark.parametrize("make", [plain, constants, body, tokens, with_state, weights_as_inputs])
def test_it_is_quantized(tmp_path: Path, make: Any, step: str) -> None:
    outcome = weigh_onnx(tmp_path, make(), step)
    if make is body:  # ONNX Runtime quantizes no body; the layer outside is one
        assert outcome.status is Status.PASS, outcome.message
        assert outcome.steps[0].after.quantized >= 1
        assert any("If" in note or "bod" in note for note in outcome.notes)
    else:
        quantized(outcome)


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 21])
def test_opsets(tmp_path: Path, opset: int) -> None:
    quantized(weigh_onnx(tmp_path, plain(opset=opset), DYNAMIC))


@pytest.mark.parametrize("opset", [9, 11, 12])
def test_old_opsets_and_static_per_channel(tmp_path: Path, opset: int) -> None:
    """Below opset 13 per-channel does not exist: quantized per channel after all, or refused, not per tensor in secret."""
    outcome = weigh_onnx(tmp_path, plain(opset=opset), STATIC)
    if outcome.status is Status.ERROR:
        assert "opset" in outcome.message
        return
    quantized(outcome)
    from weighbridge.contracts import FORMATS

    assert outcome.candidate is not None
    format_ = FORMATS.get("onnx")
    stored = [
        t for t in format_.tensors(format_.open(outcome.candidate)) if t.quantization and t.array.ndim == 2
    ]
    assert stored
    assert all(tensor.quantization and tensor.quantization.scale.size > 1 for tensor in stored)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("step", [DYNAMIC, STATIC])
def test_a_fixed_batch(tmp_path: Path, batch: int, step: str) -> None:
    """100 samples are no multiple of 8: every one is counted, none twice."""
    (tmp_path / "data.py").write_text(
        "import numpy as np\n"
        "def splits():\n"
        "    x = np.random.default_rng(3).standard_normal((100, 16)).astype('float32')\n"
        "    return {'test': (x, np.arange(100) % 4), 'calibration': (x[:50], None)}\n"
    )
    rest = "data: data.py:splits\nallow_chance: true\n"
    fixed = weigh_onnx(tmp_path, plain(batch), step, rest)
    quantized(fixed)
    free = weigh_onnx(tmp_path, plain(), step, rest)
    assert fixed.measurements["accuracy"].details["n"] == 100
    assert fixed.measurements["accuracy"].baseline == free.measurements["accuracy"].baseline


def test_a_fixed_batch_whose_state_has_another_axis_is_refused(tmp_path: Path) -> None:
    made = with_state()
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    outcome = weigh_onnx(tmp_path, made, DYNAMIC, thresholds="fidelity: 3")
    assert "batch" in outcome.failed.get("fidelity", "")


def test_external_data_is_read_and_weighed(tmp_path: Path) -> None:
    onnx.save(plain(), tmp_path / "inline.onnx")
    onnx.save(
        plain(), tmp_path / "model.onnx", save_as_external_data=True, location="model.bin", size_threshold=0
    )
    outcome = weigh(
        tmp_path, f"model: {{onnx: model.onnx}}\nrecipe: [{{{DYNAMIC}}}]\nthresholds: {{size: 1}}\n"
    )
    quantized(outcome)
    weights = 4 * (W1.size + W2.size)
    assert outcome.measurements["size"].details["baseline"]["weights"] == weights
    assert (outcome.measurements["size"].baseline or 0) > weights


def test_external_data_that_is_absent_or_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    onnx.save(
        plain(), folder / "model.onnx", save_as_external_data=True, location="model.bin", size_threshold=0
    )
    text = f"model: {{onnx: model.onnx}}\nrecipe: [{{{DYNAMIC}}}]\nthresholds: {{size: 1}}\n"
    (folder / "model.bin").rename(tmp_path / "model.bin")
    assert weigh(folder, text).status is Status.ERROR
    made = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in made.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../model.bin"
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    outcome = weigh(folder, text)
    assert (outcome.status, outcome.stage) == (Status.ERROR, "load")


@pytest.mark.parametrize("step", [DYNAMIC, STATIC])
def test_half_precision_weights(tmp_path: Path, step: str) -> None:
    """ONNX Runtime's quantizers cannot do with fp16: they make a file that does not load, or one no smaller."""
    outcome = weigh_onnx(tmp_path, fp16(), step)
    assert (outcome.status, outcome.stage) == (Status.ERROR, "quantize")
    assert "keeps its weights in float16" in outcome.message


@pytest.mark.parametrize("step", [DYNAMIC, STATIC])
def test_a_model_that_is_quantized_already(tmp_path: Path, step: str) -> None:
    first = weigh_onnx(tmp_path, plain(), step)
    assert first.candidate is not None
    again = weigh_onnx(tmp_path, onnx.load(first.candidate.path), step)
    assert (again.status, again.stage) == (Status.ERROR, "quantize")
    assert "is quantized already (" in again.message


def test_layers_in_bodies_alone_are_not_called_quantized(tmp_path: Path) -> None:
    outcome = weigh_onnx(tmp_path, all_in_bodies(), DYNAMIC)
    assert (outcome.status, outcome.stage) == (Status.ERROR, "quantize")
    assert "nothing to convert" in outcome.message
    assert "none inside If, Loop and Scan" in outcome.message


def test_an_open_inner_size_asks_for_data(tmp_path: Path) -> None:
    """Samples cannot be drawn; what needs none is measured all the same."""
    nodes = [helper.make_node("ReduceMean", ["sequence"], ["x"], axes=[1], keepdims=0), *two_layers()]
    made = model(nodes, {"w1": W1, "w2": W2}, [info("sequence", ["n", "length", 16])])
    outcome = weigh_onnx(tmp_path, made, DYNAMIC)
    assert outcome.status is Status.PASS, outcome.message
    assert outcome.measurements["size"].candidate < (outcome.measurements["size"].baseline or 0)
    assert "fidelity" not in outcome.measurements
    assert any("data" in note for note in outcome.notes)


def test_names_and_counts_of_inputs(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(
        "import numpy as np\n"
        "def splits(): return {'test': ({'z': np.zeros((8, 16), 'float32')}, np.arange(8) % 4)}\n"
        "def pair(): return {'test': ((np.zeros((8, 16), 'float32'),) * 2, np.arange(8) % 4)}\n"
    )
    wrong = weigh_onnx(tmp_path, plain(), DYNAMIC, "data: data.py:splits", "accuracy: 0.01")
    assert "the model has no input 'z'" in wrong.failed["accuracy"]
    wrong = weigh_onnx(tmp_path, plain(), DYNAMIC, "data: data.py:pair", "accuracy: 0.01")
    assert "the model takes 1 inputs (x), the data gives 2" in wrong.failed["accuracy"]


def test_an_input_that_the_data_leaves_out(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["x"]), *two_layers()]
    made = model(nodes, {"w1": W1, "w2": W2}, [info("a", ["n", 16]), info("b", ["n", 16])])
    (tmp_path / "data.py").write_text(
        "import numpy as np\n"
        "def splits(): return {'test': ({'a': np.zeros((8, 16), 'float32')}, np.arange(8) % 4)}\n"
    )
    outcome = weigh_onnx(tmp_path, made, DYNAMIC, "data: data.py:splits", "accuracy: 0.01")
    assert "'b'" in outcome.failed["accuracy"]


def test_a_callable_that_gives_a_model(tmp_path: Path) -> None:
    onnx.save(plain(), tmp_path / "built.onnx")
    (tmp_path / "model.py").write_text(
        "import onnx\nfrom pathlib import Path\nHERE = Path(__file__).parent\n"
        "def proto(): return onnx.load(HERE / 'built.onnx')\n"
        "def path(): return HERE / 'built.onnx'\n"
        "def other(): return 3\n"
    )
    for name in ("proto", "path"):
        quantized(
            weigh(
                tmp_path,
                f"model: {{onnx: 'model.py:{name}'}}\nrecipe: [{{{DYNAMIC}}}]\nthresholds: {{size: 1}}",
            )
        )
    wrong = weigh(
        tmp_path, f"model: {{onnx: 'model.py:other'}}\nrecipe: [{{{DYNAMIC}}}]\nthresholds: {{size: 1}}"
    )
    assert "gave a int, not a path or an onnx.ModelProto" in wrong.message
