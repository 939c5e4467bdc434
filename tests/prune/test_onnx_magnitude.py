"""Magnitude pruning of ONNX graphs: every place in which weights are kept, each weight once, integers refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.found.onnx_graphs import decibel, model, node, quantize, stored, weight
from tests.found.torch_modules import apply, mlp
from tests.projects import weigh, write_samples

from weighbridge.contracts import CONVERTERS, FORMATS, STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.results import Status

MAGNITUDE = STEPS.get("prune:magnitude")


def prune(made: Model, **options: Any) -> Model:
    context = Context(Path(), Path(), 0, Data(splits={}))
    return MAGNITUDE.apply(made, MAGNITUDE.options.model_validate(options), context)


def zeros(made: Model) -> dict[str, int]:
    """Zeros of each matrix and filter."""
    return {name: tensor.array.size - tensor.nonzero() for name, tensor in stored(made).items()}


def assert_smallest_went(before: Any, after: Any, count: int) -> None:
    gone = np.flatnonzero(after.reshape(-1) == 0)
    assert sorted(gone) == sorted(np.argsort(np.abs(before.reshape(-1)), kind="stable")[:count])
    left = after.reshape(-1) != 0
    assert (after.reshape(-1)[left] == before.reshape(-1)[left]).all()


def two_layers() -> Model:
    nodes = [
        node("Gemm", "x fc1.weight", "a", "one"),
        node("Relu", "a", "b"),
        node("MatMul", "b fc2.weight", "y", "two"),
    ]
    return model(nodes, {"fc1.weight": weight(8, 16), "fc2.weight": weight(16, 4) / 1000}, ["n", 8])


def test_the_smallest_weights_of_each_layer() -> None:
    graph = two_layers()
    made = prune(graph, amount=0.25)
    for name, count in (("fc1.weight", 32), ("fc2.weight", 16)):
        assert_smallest_went(stored(graph)[name].array, stored(made)[name].array, count)
    assert zeros(graph) == {"fc1.weight": 0, "fc2.weight": 0}


def test_across_all_layers() -> None:
    assert zeros(prune(two_layers(), amount=100, scope="global")) == {"fc1.weight": 36, "fc2.weight": 63}


@pytest.mark.parametrize("pattern", ["fc1", "fc1.weight", "one", "Gemm"])
def test_layers_by_weight_owner_node_and_type(pattern: str) -> None:
    assert zeros(prune(two_layers(), amount=0.5, layers=[pattern])) == {"fc1.weight": 64, "fc2.weight": 0}
    assert zeros(prune(two_layers(), amount=0.5, exclude=[pattern])) == {"fc1.weight": 0, "fc2.weight": 32}


def test_it_prunes_what_torch_would(tmp_path: Path) -> None:
    net = mlp(16, 32, 4)
    x = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    context = Context(tmp_path, tmp_path, 0, Data(splits={"test": (x, None)}))
    export = CONVERTERS.get("torch->onnx").convert
    ours = prune(export(Model("torch", net.eval()), context), amount=0.4, scope="global")
    theirs = export(apply("prune:l1_unstructured", net, tmp_path, amount=0.4, scope="global"), context)
    assert sum(zeros(ours).values()) == round(0.4 * (16 * 32 + 32 * 4))
    assert {name: tensor.array.tolist() for name, tensor in stored(ours).items()} == {
        name: tensor.array.tolist() for name, tensor in stored(theirs).items()
    }


def as_constants(graph: Model) -> Model:
    kept = list(graph.value.graph.initializer)
    nodes = [helper.make_node("Constant", [], [one.name], value=one) for one in kept]
    nodes += list(graph.value.graph.node)
    return model(nodes, {}, ["n", 8])


def test_weights_in_constant_nodes() -> None:
    graph = as_constants(two_layers())
    made = prune(graph, amount=0.5)
    assert zeros(made) == {"fc1.weight": 64, "fc2.weight": 32}
    assert decibel(graph, made) < 30  # the graph really computes with them


def branch(name: str, array: Any, constant: bool) -> Any:
    tensor = numpy_helper.from_array(array, f"{name}.weight")
    nodes = [helper.make_node("Constant", [], [tensor.name], value=tensor)] if constant else []
    nodes.append(node("MatMul", f"x {tensor.name}", name))
    out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    return helper.make_graph(nodes, name, [], [out], [] if constant else [tensor])


@pytest.mark.parametrize("constant", [True, False])
def test_weights_in_the_bodies_of_if(constant: bool) -> None:
    made = model(
        [
            helper.make_node(
                "If",
                ["c"],
                ["y"],
                then_branch=branch("left", weight(8, 4), constant),
                else_branch=branch("right", weight(8, 4), constant),
            )
        ],
        {"c": np.array(True)},
        ["n", 8],
    )
    assert zeros(prune(made, amount=0.5)) == {"left.weight": 16, "right.weight": 16}


def test_weights_in_the_body_of_a_loop_and_those_it_reads_from_outside() -> None:
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            node("MatMul", "state inside", "a"),
            node("MatMul", "a outside", "next"),
            node("Identity", "go", "on"),
        ],
        "body",
        [
            info("i", TensorProto.INT64, []),
            info("go", TensorProto.BOOL, []),
            info("state", TensorProto.FLOAT, None),
        ],
        [info("on", TensorProto.BOOL, []), info("next", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight(8, 8), "inside")],
    )
    loop = helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body)
    made = model([loop], {"turns": np.array(2), "outside": weight(8, 8)}, ["n", 8])
    assert zeros(prune(made, amount=0.5)) == {"inside": 32, "outside": 32}


def test_weights_in_a_function_that_is_called_twice() -> None:
    body = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight(8, 8), "w")),
        node("MatMul", "a w", "b"),
    ]
    made = model([node("Layer", "x", "h"), node("Layer", "h", "y")], {}, ["n", 8])
    for one in made.value.graph.node:
        one.domain = "own"
    made.value.functions.append(
        helper.make_function("own", "Layer", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    )
    made.value.opset_import.append(helper.make_opsetid("own", 1))
    assert zeros(prune(made, amount=0.5)) == {"w": 32}


def test_a_shared_weight_is_pruned_once_and_a_reader_that_is_excluded_keeps_it() -> None:
    nodes = [node("MatMul", "x w", "a", "first"), node("MatMul", "a w", "y", "second")]
    graph = model(nodes, {"w": weight(8, 8)}, ["n", 8])
    made = prune(graph, amount=0.5)
    assert zeros(made) == {"w": 32}
    assert "w is read by first, second: it was pruned once, for all" in made.notes
    with pytest.raises(StageError, match="leaves no layer"):
        prune(graph, amount=0.5, exclude=["second"])


def test_weights_behind_what_only_moves_them() -> None:
    nodes = [
        node("Transpose", "w", "t", perm=[1, 0]),
        node("Mul", "t gain", "g"),
        node("MatMul", "x g", "y"),
    ]
    graph = model(nodes, {"w": weight(4, 8), "gain": np.float32(2)}, ["n", 8])
    assert_smallest_went(stored(graph)["w"].array, stored(prune(graph, amount=0.5))["w"].array, 16)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE])
def test_other_floats(dtype: int) -> None:
    graph = model([node("MatMul", "x w", "y")], {}, ["n", 8])
    made = helper.make_tensor("w", dtype, [8, 8], weight(8, 8).reshape(-1))
    graph.value.graph.initializer.append(made)
    pruned = prune(graph, amount=0.5)
    assert zeros(pruned) == {"w": 32}
    assert pruned.value.graph.initializer[0].data_type == dtype


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    graph = two_layers()
    onnx.save(
        graph.value, tmp_path / "net.onnx", save_as_external_data=True, location="net.bin", size_threshold=0
    )
    data = write_samples(tmp_path, {"x": [8]})
    found = weigh(
        tmp_path,
        f"model: {{onnx: net.onnx}}\n{data}recipe:\n  - prune: magnitude\n    amount: 0.5\n"
        "thresholds: {nonzero_ratio: {equals: 0.5}}\n",
    )
    assert found.result.status is Status.PASS, found.message
    assert found.candidate is not None
    opened = FORMATS.get("onnx").open(found.candidate)
    assert zeros(opened) == {"fc1.weight": 64, "fc2.weight": 32}


def test_what_is_kept_otherwise_is_named() -> None:
    table, rows = weight(16, 8), np.array([0, 1, 2])
    flat = helper.make_node("Constant", [], ["flat"], value_floats=weight(64).tolist())
    nodes = [
        flat,
        node("Reshape", "flat side", "square"),
        node("Gather", "table rows", "looked"),
        node("MatMul", "x square", "a"),
        node("MatMul", "a w", "b"),
        helper.make_node("Concat", ["b", "looked"], ["y"], axis=0),
    ]
    graph = model(
        nodes, {"side": np.array([8, 8]), "table": table, "rows": rows, "w": weight(8, 8)}, ["n", 8]
    )
    made = prune(graph, amount=0.5)
    assert zeros(made) == {"flat": 0, "table": 0, "w": 32}
    assert "not pruned: flat (MatMul), kept as a sparse tensor or a list of numbers in a node" in made.notes
    assert "not pruned, since rows of it are looked up: table (Gather)" in made.notes


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_zeros_stay_zeros_through_quantization(tmp_path: Path, mode: str) -> None:
    made = prune(two_layers(), amount=0.5)
    after = quantize(
        tmp_path, made, mode, per_channel=True, **({"float_share": 0.0} if mode == "static" else {})
    )
    coded = {name: tensor for name, tensor in stored(after).items() if tensor.quantization}
    assert set(coded) == {"fc1.weight", "fc2.weight"}
    for name, tensor in coded.items():
        assert tensor.nonzero() <= tensor.array.size // 2, name
    assert decibel(made, after) > 25


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_what_is_quantized_already_is_refused_with_its_operators(tmp_path: Path, mode: str) -> None:
    after = quantize(tmp_path, two_layers(), mode, exclude=["fc2"])
    with pytest.raises(StageError, match=r"fc1.weight \((Gemm|MatMulInteger)\) is quantized already"):
        prune(after, amount=0.5)
    left = zeros(prune(after, amount=0.5, exclude=["fc1*"]))
    assert left["fc2.weight"] == 32


def test_a_graph_without_weights() -> None:
    with pytest.raises(StageError, match="nothing to prune"):
        prune(model([node("Relu", "x", "y")], {}, ["n", 8]), amount=0.5)


def test_an_amount_that_a_weight_has_not() -> None:
    with pytest.raises(StageError, match=r"layer 'fc2.weight': amount 64 .* it has 64 of them"):
        prune(two_layers(), amount=64)


def test_a_step_that_prunes_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the masks are not written."""
    monkeypatch.setattr("weighbridge.steps.prune.onnx_weights._keep", lambda proto, kept: None)
    onnx.save(two_layers().value, tmp_path / "net.onnx")
    data = write_samples(tmp_path, {"x": [8]})
    found = weigh(
        tmp_path,
        f"model: {{onnx: net.onnx}}\n{data}recipe:\n  - prune: magnitude\n    amount: 0.5\nthresholds: {{nonzero_ratio: 0.9}}\n",
    )
    assert found.result.status is Status.ERROR
    assert "the step changed nothing" in found.message


def test_what_the_zeros_buy_is_counted() -> None:
    (said,) = (note for note in prune(two_layers(), amount=0.5).notes if "zeros" in note)
    assert said.startswith(
        "50.0% of the 192 weights in fc1.weight, fc2.weight are zeros, which take 768 bytes"
    )


def test_torch_is_not_needed(tmp_path: Path) -> None:
    import subprocess
    import sys

    onnx.save(two_layers().value, tmp_path / "net.onnx")
    code = (
        "import sys\nfrom pathlib import Path\nsys.modules['torch'] = None\n"
        "from weighbridge.contracts import FORMATS, STEPS, Context\nfrom weighbridge.core.data import Data\n"
        "step = STEPS.get('prune:magnitude')\n"
        f"made = FORMATS.get('onnx').load('net.onnx', None, Path({str(tmp_path)!r}))\n"
        "step.apply(made, step.options(amount=0.5), Context(Path(), Path(), 0, Data(splits={})))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
