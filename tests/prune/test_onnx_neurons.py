"""Channels taken out of ONNX graphs: what is left computes the same, and what cannot be followed keeps its width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.found.onnx_graphs import model, node, stored, weight
from tests.projects import weigh, write_samples
from tests.prune.random_graphs import Network

from weighbridge.contracts import FORMATS, STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.layout import Layout
from weighbridge.core.results import Status
from weighbridge.engines.onnxruntime import OnnxRuntimeSession
from weighbridge.steps.prune import onnx_neurons

NEURONS = STEPS.get("prune:neurons")


def samples(made: Model, n: int = 16) -> Any:
    shape = [axis.dim_value or 6 for axis in made.value.graph.input[0].type.tensor_type.shape.dim[1:]]
    return np.random.default_rng(0).standard_normal((n, *shape)).astype(np.float32)


def narrow(made: Model, folder: Path, **options: Any) -> Model:
    data = Data(splits={"test": (samples(made), None)})
    return NEURONS.apply(made, NEURONS.options.model_validate(options), Context(folder, folder, 0, data))


def shapes(made: Model) -> dict[str, list[int]]:
    return {tensor.name: list(tensor.dims) for tensor in made.value.graph.initializer}


def answers(made: Model, x: Any) -> Any:
    return OnnxRuntimeSession(made.value.SerializeToString()).run((x,))[0]


def vector(*shape: int) -> Any:
    return np.abs(weight(*shape)) + 0.5


def mlp() -> Model:
    nodes = [
        node("Gemm", "x one.weight one.bias", "a", "first", transB=1),
        node("Relu", "a", "b"),
        node("Gemm", "b two.weight two.bias", "c", "second", transB=1),
        node("Tanh", "c", "d"),
        node("Gemm", "d three.weight", "y", "third", transB=1),
    ]
    weights = {
        "one.weight": weight(32, 12), "one.bias": weight(32), "two.weight": weight(64, 32), "two.bias": weight(1, 64),
        "three.weight": weight(4, 64),
    }  # fmt: skip
    return model(nodes, weights, ["n", 12])


def test_the_smallest_neurons_go_with_their_biases_and_readers(tmp_path: Path) -> None:
    graph = mlp()
    made = narrow(graph, tmp_path)
    assert shapes(made) == {
        "one.weight": [16, 12], "one.bias": [16], "two.weight": [32, 16], "two.bias": [1, 32], "three.weight": [4, 32],
    }  # fmt: skip
    before, after = ({name: tensor.array for name, tensor in stored(each).items()} for each in (graph, made))
    kept = np.sort(np.argsort(np.linalg.norm(before["one.weight"], axis=1))[16:])
    assert (after["one.weight"] == before["one.weight"][kept]).all()
    rows = np.sort(np.argsort(np.linalg.norm(before["two.weight"], axis=1))[32:])
    assert (after["two.weight"] == before["two.weight"][rows][:, kept]).all()
    assert made.notes[0] == "channels removed: one 32 → 16, two 64 → 32"
    assert made.notes[1] == "three keeps its channels: they are an output of the model"


def test_the_answers_are_those_of_the_original_without_these_neurons(tmp_path: Path) -> None:
    """Told without the step's own check: weights that read nothing are taken for the neurons that are not there."""
    graph = mlp()
    made = narrow(graph, tmp_path, layers=["two"])
    before = stored(graph)["two.weight"].array
    gone = np.argsort(np.linalg.norm(before, axis=1))[:32]
    for tensor in graph.value.graph.initializer:
        if tensor.name == "three.weight":
            array = numpy_helper.to_array(tensor).copy()
            array[:, gone] = 0
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    x = samples(graph)
    np.testing.assert_allclose(answers(made, x), answers(graph, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("rank", "norm"), [("l2", lambda w: (w**2).sum(1)), ("l1", lambda w: np.abs(w).sum(1))]
)
def test_the_norm_ranks(tmp_path: Path, rank: str, norm: Any) -> None:
    graph = mlp()
    for tensor in graph.value.graph.initializer:
        if tensor.name == "one.weight":
            array = weight(32, 12)
            array[::2] = 0
            array[::2, 0] = 0.95  # one large weight: long by l2, short by l1
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    kept = np.sort(np.argsort(norm(array))[16:])
    made = narrow(graph, tmp_path, layers=["one"], rank=rank)
    assert (stored(made)["one.weight"].array == array[kept]).all()


def test_across_all_layers_and_rounded(tmp_path: Path) -> None:
    graph = mlp()
    for tensor in graph.value.graph.initializer:
        if tensor.name == "two.weight":
            array = numpy_helper.to_array(tensor).copy()
            array[:50] *= 0.01
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    made = narrow(graph, tmp_path, scope="global", amount=0.5)
    assert shapes(made)["one.weight"] == [32, 12]
    assert shapes(made)["two.weight"] == [16, 32]
    assert shapes(narrow(graph, tmp_path, scope="global", amount=0.5, round_to=1))["two.weight"] == [16, 32]
    assert shapes(narrow(graph, tmp_path, amount=0.3))["two.weight"] == [40, 16]
    assert shapes(narrow(graph, tmp_path, amount=0.3, round_to=1))["two.weight"] == [45, 23]


CONV = {"c1.weight": (16, 3, 3, 3), "c1.bias": (16,)}


def conv_net(nodes: list[Any], weights: dict[str, Any], size: int = 8) -> Model:
    """`nodes` between a convolution of 16 filters, whose output is `c`, and the output `y`."""
    first = node("Conv", "x c1.weight c1.bias", "c", "c1", pads=[1, 1, 1, 1])
    return model(
        [first, *nodes],
        {name: weight(*shape) for name, shape in CONV.items()} | weights,
        ["n", 3, size, size],
    )


def head(source: str, inputs: int) -> tuple[list[Any], dict[str, Any]]:
    return [node("Gemm", f"{source} head", "y", "head")], {"head": weight(inputs, 4)}


def through(*nodes: Any, weights: Any = None, inputs: int = 16, source: str = "f") -> Model:
    last, head_weights = head(source, inputs)
    return conv_net([*nodes, *last], {**(weights or {}), **head_weights})


POOLED = node("GlobalAveragePool", "p", "g")
FLAT = node("Flatten", "g", "f")
NORM = {f"bn{i}": vector(16) for i in range(4)}
GRAPHS: dict[str, tuple[Any, dict[str, list[int]]]] = {
    "normalized, pooled, flattened": (
        lambda: through(
            node("BatchNormalization", "c bn0 bn1 bn2 bn3", "n"), node("Relu", "n", "r"),
            node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]), node("Flatten", "p", "f"),
            weights=NORM, inputs=256,
        ),
        {"c1.weight": [8, 3, 3, 3], "bn2": [8], "head": [128, 4]},
    ),
    "reshaped by a number": (
        lambda: through(
            node("AveragePool", "c", "p", kernel_shape=[4, 4], strides=[4, 4]), node("Reshape", "p to", "f"),
            weights={"to": np.array([-1, 64])}, inputs=64,
        ),
        {"c1.weight": [8, 3, 3, 3], "head": [32, 4], "to": [2]},
    ),
    "reshaped by what is left": (
        lambda: through(node("Reshape", "c to", "f"), weights={"to": np.array([0, -1])}, inputs=1024),
        {"head": [512, 4]},
    ),
    "squeezed": (
        lambda: through(
            node("GlobalMaxPool", "c", "g"), node("Squeeze", "g axes", "f"), weights={"axes": np.array([2, 3])}
        ),
        {"head": [8, 4]},
    ),
    "averaged": (lambda: through(node("ReduceMean", "c", "f", axes=[2, 3], keepdims=0)), {"head": [8, 4]}),
    "activations with numbers of their own": (
        lambda: through(
            node("PRelu", "c slope", "a"), node("Clip", "a low high", "b"), node("Mul", "b gain", "p"), POOLED, FLAT,
            weights={"slope": vector(16, 1, 1), "low": np.float32(-1), "high": np.float32(2), "gain": vector(1, 16, 1, 1)},
        ),
        {"slope": [8, 1, 1], "gain": [1, 8, 1, 1], "head": [8, 4]},
    ),
    "instance normalization": (
        lambda: through(
            node("InstanceNormalization", "c bn0 bn1", "i"), node("Relu", "i", "p"), POOLED, FLAT,
            weights={"bn0": vector(16), "bn1": vector(16)},
        ),
        {"bn0": [8], "head": [8, 4]},
    ),
    "a sum of two": (
        lambda: through(
            node("Relu", "c", "r"), node("Conv", "r c2", "d", "c2", pads=[1, 1, 1, 1]), node("Add", "c d", "p"), POOLED,
            FLAT, weights={"c2": weight(16, 16, 3, 3)},
        ),
        {"c1.weight": [8, 3, 3, 3], "c2": [8, 8, 3, 3], "head": [8, 4]},
    ),
    "squeeze and excite": (
        lambda: through(
            node("GlobalAveragePool", "c", "s"), node("Conv", "s down", "t", "down"), node("Relu", "t", "u"),
            node("Conv", "u up", "v", "up"), node("HardSigmoid", "v", "w"), node("Mul", "c w", "p"), POOLED, FLAT,
            weights={"down": weight(16, 16, 1, 1), "up": weight(16, 16, 1, 1)},
        ),
        {"c1.weight": [8, 3, 3, 3], "down": [8, 8, 1, 1], "up": [8, 8, 1, 1], "head": [8, 4]},
    ),
    "depthwise": (
        lambda: through(
            node("Conv", "c dw dwb", "d", "dw", group=16), node("HardSwish", "d", "p"), POOLED, FLAT,
            weights={"dw": weight(16, 1, 3, 3), "dwb": weight(16)},
        ),
        {"dw": [8, 1, 3, 3], "dwb": [8], "head": [8, 4]},
    ),
    "transposed convolution": (
        lambda: through(
            node("ConvTranspose", "c up upb", "p", "up"), POOLED, FLAT,
            weights={"up": weight(16, 24, 3, 3), "upb": weight(24)}, inputs=24,
        ),
        {"c1.weight": [8, 3, 3, 3], "up": [8, 8, 3, 3], "upb": [8], "head": [8, 4]},
    ),
    "channels last, into a matrix": (
        lambda: through(
            node("Transpose", "c", "t", perm=[0, 2, 3, 1]), node("MatMul", "t mm", "m", "mm"), node("Add", "m b", "n"),
            node("ReduceMean", "n", "f", axes=[1, 2], keepdims=0),
            weights={"mm": weight(16, 32), "b": weight(32)}, inputs=32,
        ),
        {"c1.weight": [8, 3, 3, 3], "mm": [8, 16], "b": [16], "head": [16, 4]},
    ),
    "a bias that is one number": (
        lambda: through(node("Add", "c one", "p"), POOLED, FLAT, weights={"one": np.ones((1, 1), np.float32)}),
        {"one": [1, 1], "head": [8, 4]},
    ),
    "a map of one channel": (
        lambda: through(
            node("Conv", "x mask", "m", pads=[1, 1, 1, 1]), node("Sigmoid", "m", "s"), node("Mul", "s c", "p"), POOLED, FLAT,
            weights={"mask": weight(1, 3, 3, 3)},
        ),
        {"c1.weight": [8, 3, 3, 3], "mask": [1, 3, 3, 3]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", GRAPHS)
def test_channels_are_followed(tmp_path: Path, what: str) -> None:
    """The step holds the smaller graph against the original by itself: the planted faults below show that it looks."""
    make, wanted = GRAPHS[what]
    graph = make()
    made = narrow(graph, tmp_path)
    found = shapes(made)
    assert {name: found[name] for name in wanted} == wanted
    assert answers(made, samples(graph)).shape == answers(graph, samples(graph)).shape


def in_a_branch() -> Model:
    def branch(name: str) -> Any:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([node("Neg", "a", name)], name, [], [out])

    both = helper.make_node(
        "If", ["go"], ["i"], then_branch=branch("left"), else_branch=branch("right"), name="choice"
    )
    nodes = [node("MatMul", "x w1", "a", "one"), both, node("MatMul", "i w2", "y", "two")]
    return model(nodes, {"w1": weight(12, 32), "w2": weight(32, 4), "go": np.array(True)}, ["n", 12])


WHOLE: dict[str, tuple[Any, str]] = {
    "an output": (lambda: model([node("MatMul", "x w1", "y", "one")], {"w1": weight(12, 32)}, ["n", 12]),
                  "one keeps its channels: they are an output of the model"),
    "a softmax": (lambda: through(node("Softmax", "c", "p", "soft", axis=1), POOLED, FLAT),
                  "c1 keeps its channels: soft (Softmax) reads them"),
    "joined": (lambda: through(node("Concat", "c c", "p", "cat", axis=1), POOLED, FLAT, inputs=32),
               "c1 keeps its channels: cat (Concat) reads them"),
    "in groups": (lambda: through(node("Conv", "c c2", "p", "c2", group=4), POOLED, FLAT, weights={"c2": weight(32, 4, 1, 1)},
                                  inputs=32),
                  "c1 keeps its channels: c2 (Conv) reads them, and its filters are in groups"),
    "shared": (lambda: model([node("MatMul", "x w", "a", "one"), node("Relu", "a", "b"), node("MatMul", "b w", "y", "two")],
                             {"w": weight(12, 12)}, ["n", 12]),
               "one, two keeps its channels: its weight is shared"),
    "shared filters": (
        lambda: through(
            node("Conv", "c same", "a", "two"), node("Relu", "a", "b"), node("Conv", "b same", "p", "three"), POOLED, FLAT,
            weights={"same": weight(16, 16, 1, 1)},
        ),
        "c1 keeps its channels: two (Conv) reads them, and its weight is shared"),
    "stacked": (
        lambda: model([node("MatMul", "x w", "a", "one"), node("Relu", "a", "b"), node("MatMul", "b v", "y", "two")],
                      {"w": weight(3, 12, 32), "v": weight(3, 32, 4)}, ["n", 3, 5, 12]),
        "one, two keeps its channels: its weight is no single matrix"),
    "added to what is given": (
        lambda: model([node("MatMul", "x w1", "a", "one"), node("Add", "a x", "b", "sum"), node("MatMul", "b w2", "y", "two")],
                      {"w1": weight(32, 32), "w2": weight(32, 4)}, ["n", 32]),
        "one keeps its channels: sum (Add) reads them"),
    "read in a body": (in_a_branch, "one keeps its channels: they are what a body of control flow reads"),
}  # fmt: skip


@pytest.mark.parametrize("what", WHOLE)
def test_what_cannot_be_followed_keeps_its_width_and_says_why(tmp_path: Path, what: str) -> None:
    make, why = WHOLE[what]
    with pytest.raises(StageError, match="no layer can do without channels") as refused:
        narrow(make(), tmp_path)
    assert why in str(refused.value)


def test_a_flattened_image_of_unknown_size_keeps_its_channels(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x c1", "c", "c1"), node("Flatten", "c", "f", "flat"), node("MatMul", "f w", "g", "one"),
        node("Relu", "g", "h"), node("MatMul", "h v", "y", "two"),
    ]  # fmt: skip
    graph = model(
        nodes, {"c1": weight(16, 3, 1, 1), "w": weight(16 * 36, 32), "v": weight(32, 4)}, ["n", 3, "h", "w"]
    )
    made = narrow(graph, tmp_path)
    assert shapes(made) == {"c1": [16, 3, 1, 1], "w": [16 * 36, 16], "v": [16, 4]}
    assert "c1 keeps its channels: flat (Flatten) reads them" in made.notes


def test_layers_that_are_summed_go_together_or_not_at_all(tmp_path: Path) -> None:
    graph = GRAPHS["a sum of two"][0]()
    with pytest.raises(StageError, match="no layer can do without"):
        narrow(graph, tmp_path, exclude=["c2"])
    assert shapes(narrow(mlp(), tmp_path, exclude=["one"]))["one.weight"] == [32, 12]
    assert shapes(narrow(mlp(), tmp_path, layers=["second"]))["two.weight"] == [32, 32]
    with pytest.raises(StageError, match="matches 'thre'"):
        narrow(mlp(), tmp_path, exclude=["thre"])


def test_too_narrow_for_the_multiple_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"with `round_to: 64` and `amount: 0.5` nothing is left to remove"):
        narrow(mlp(), tmp_path, round_to=64)
    with pytest.raises(StageError, match="there is none"):
        narrow(model([node("Relu", "x", "y")], {}, ["n", 12]), tmp_path)


def test_a_vector_that_others_read_too_stays_theirs(tmp_path: Path) -> None:
    """One bias of two layers, of which one keeps its width."""
    nodes = [
        node("Gemm", "x w1 b", "a", "one"), node("Relu", "a", "h"), node("Gemm", "h w2 b", "s", "two"),
        node("Softmax", "s", "t", "soft"), node("MatMul", "t w3", "y", "three"),
    ]  # fmt: skip
    weights = {"w1": weight(12, 32), "w2": weight(32, 32), "b": weight(32), "w3": weight(32, 4)}
    made = narrow(model(nodes, weights, ["n", 12]), tmp_path)
    found = shapes(made)
    assert found["b"] == [32]
    assert found["b_one"] == [16]
    assert found["w2"] == [16, 32]


def test_weights_in_constant_nodes(tmp_path: Path) -> None:
    graph = mlp()
    kept = list(graph.value.graph.initializer)
    constants = [helper.make_node("Constant", [], [one.name], value=one) for one in kept]
    moved = model([*constants, *graph.value.graph.node], {}, ["n", 12])
    assert shapes(narrow(moved, tmp_path)) == shapes(narrow(graph, tmp_path))


def test_random_networks_are_cut_rightly_or_left_whole(tmp_path: Path) -> None:
    """The step refuses a cut that computes something else: none of these is refused so, and most become narrower."""
    narrowed = 0
    for seed in range(150):
        graph = Network(seed).graph()
        options = {"scope": ["local", "global"][seed % 2], "round_to": [8, 4, 1][seed % 3]}
        try:
            made = narrow(graph, tmp_path, **options)
        except StageError as error:
            if "no layer can do without channels" not in str(error):
                raise
            continue
        narrowed += 1
        assert sum(map(np.prod, shapes(made).values())) < sum(map(np.prod, shapes(graph).values()))
    assert narrowed > 100


@pytest.mark.parametrize("role", ["makes", "reads", "along"])
def test_another_cut_than_the_graph_reads_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """Planted: one of the stored inputs loses other channels than the rest."""
    honest, real = onnx_neurons._without, onnx_neurons._places

    def wrong(proto: Any, removed: Any) -> Any:
        def elsewhere(gone: Any, touch: Any) -> Any:
            width = next(iter(removed)).width
            off = role == touch.role and touch.node.name in ("first", "second")
            return real((gone + 1) % width if off else gone, touch)

        with monkeypatch.context() as patch:
            patch.setattr(onnx_neurons, "_places", elsewhere)
            return honest(proto, removed)

    monkeypatch.setattr(onnx_neurons, "_without", wrong)
    with pytest.raises(StageError, match="without channels of one the graph computes something else"):
        narrow(mlp(), tmp_path, layers=["one"])


@pytest.mark.parametrize("wrong", [False, True])
def test_a_graph_that_answers_with_classes_alone_is_checked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: bool
) -> None:
    graph = mlp()
    graph.value.graph.node.append(node("ArgMax", "y", "class", axis=1, keepdims=0))
    graph.value.graph.output[0].CopyFrom(helper.make_tensor_value_info("class", TensorProto.INT64, ["n"]))
    if not wrong:
        assert shapes(narrow(graph, tmp_path, layers=["two"]))["two.weight"] == [32, 32]
        return
    real = onnx_neurons._places
    monkeypatch.setattr(
        onnx_neurons,
        "_places",
        lambda gone, touch: real((gone + 1) % 64 if touch.node.name == "third" else gone, touch),
    )
    unread = onnx_neurons._unread

    def honest(proto: Any, removed: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(onnx_neurons, "_places", real)
            return unread(proto, removed)

    monkeypatch.setattr(onnx_neurons, "_unread", honest)
    with pytest.raises(StageError, match="computes something else"):
        narrow(graph, tmp_path, layers=["two"])


def test_a_model_with_a_state_is_checked_step_by_step(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Concat", ["x", "state"], ["both"], axis=1),
        node("Gemm", "both one.weight", "a", "one", transB=1),
        node("Tanh", "a", "b"),
        node("Gemm", "b two.weight", "y", "two", transB=1),
        helper.make_node("Identity", ["y"], ["next"]),
    ]
    weights = {"one.weight": weight(32, 24), "two.weight": weight(8, 32)}
    graph = model(nodes, weights, ["n", 16], ("y", "next"))
    graph.value.graph.input.append(helper.make_tensor_value_info("state", TensorProto.FLOAT, ["n", 8]))
    x = np.random.default_rng(0).standard_normal((16, 5, 16)).astype(np.float32)
    data = Data(splits={"test": (x, None)}, layout=Layout(sequence=True))
    made = NEURONS.apply(graph, NEURONS.options.model_validate({}), Context(tmp_path, tmp_path, 0, data))
    assert shapes(made)["one.weight"] == [16, 24]


@pytest.mark.parametrize("scope", ["local", "global"])
def test_where_nothing_is_to_go_nothing_is_rounded_away(tmp_path: Path, scope: str) -> None:
    nodes = [
        node("Gemm", "x one.weight", "a", "one", transB=1),
        node("Relu", "a", "b"),
        node("Gemm", "b two.weight", "y", "two", transB=1),
    ]
    graph = model(nodes, {"one.weight": weight(10, 12), "two.weight": weight(4, 10)}, ["n", 12])
    with pytest.raises(StageError, match="no layer can do without channels"):
        narrow(graph, tmp_path, amount=0.01, scope=scope)


def test_a_graph_that_does_not_run_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: what reads the second layer keeps its width."""
    real = onnx_neurons.follow

    def forgetful(proto: Any) -> Any:
        groups = real(proto)
        for group in groups:
            group.touches = [
                each for each in group.touches if each.node.name != "third" or each.role == "makes"
            ]
        return groups

    monkeypatch.setattr(onnx_neurons, "follow", forgetful)
    with pytest.raises(StageError, match="without channels of two the graph computes something else"):
        narrow(mlp(), tmp_path)


QUANTIZED = "  - quantize: static\n    engine: onnxruntime\n    reduce_range: true\n    float_share: 0.0\n"


@pytest.mark.parametrize("onward", ["", QUANTIZED], ids=["float", "static"])
@pytest.mark.parametrize("batch", ["n", 1])
def test_it_is_saved_opened_and_quantized(tmp_path: Path, batch: Any, onward: str) -> None:
    graph = mlp()
    graph.value.graph.input[0].type.tensor_type.shape.dim[0].CopyFrom(
        onnx.TensorShapeProto.Dimension(dim_value=1)
        if batch == 1
        else onnx.TensorShapeProto.Dimension(dim_param="n")
    )
    onnx.save(
        graph.value, tmp_path / "net.onnx", save_as_external_data=True, location="net.bin", size_threshold=0
    )
    data = write_samples(tmp_path, {"x": [12]})
    found = weigh(
        tmp_path,
        f"model: {{onnx: net.onnx}}\n{data}recipe:\n  - prune: neurons\n    amount: 0.5\n{onward}"
        "thresholds: {parameters: {max: 1000}, fidelity: {min: -50}}\n",
    )
    assert found.result.status is Status.PASS, (found.message, found.failed)
    assert found.candidate is not None
    assert FORMATS.get("onnx").open(found.candidate).format == "onnx"
    assert found.measurements["parameters"].candidate < 0.4 * found.measurements["parameters"].baseline
