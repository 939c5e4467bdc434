"""Channels of ONNX graphs are followed through what lies between layers; what cannot be followed keeps its width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.found.onnx_graphs import model, node, weight
from tests.prune.onnx_narrowed import answers, mlp, narrow, samples, shapes
from tests.prune.random_graphs import Network

from weighbridge.contracts import Model
from weighbridge.core.errors import StageError


def vector(*shape: int) -> Any:
    return np.abs(weight(*shape)) + 0.5


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


@pytest.mark.slow
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
