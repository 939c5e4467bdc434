"""Neurons and filters taken out of ONNX graphs: which go, what is left computes the same, and another cut is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.found.onnx_graphs import model, node, stored, weight
from tests.projects import weigh, write_samples
from tests.prune.onnx_narrowed import NEURONS, answers, mlp, narrow, samples, shapes

from weighbridge.contracts import FORMATS, Context
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.layout import Layout
from weighbridge.core.results import Status
from weighbridge.steps.prune import onnx_neurons


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


def test_weights_in_constant_nodes(tmp_path: Path) -> None:
    graph = mlp()
    kept = list(graph.value.graph.initializer)
    constants = [helper.make_node("Constant", [], [one.name], value=one) for one in kept]
    moved = model([*constants, *graph.value.graph.node], {}, ["n", 12])
    assert shapes(narrow(moved, tmp_path)) == shapes(narrow(graph, tmp_path))


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
