"""Which nodes of a float graph become integer operators: the default of both steps of ONNX Runtime.

An integer kernel pays where it multiplies stored weights. Everything else is carried along only where it would otherwise
turn codes into floats and back, and loses accuracy everywhere. `benchmarks/wild.py` has what this placement and the
library's own, every operator type, give on public models.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from weighbridge.core.errors import StageError, did_you_mean
from weighbridge.steps.quantize.onnx_layers import OnnxLayer

Operators = Literal["auto", "all"] | list[str]

STATIC = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather")
"""Operators on stored weights that a static model computes in integers, or reads as codes."""
DYNAMIC = ("Gemm", "MatMul", "Gather", "LSTM", "Attention", "EmbedLayerNormalization")
"""The same of a dynamic model. Its convolutions are 5 to 8 times slower than float ones."""
_JOINS = (
    "Add", "AveragePool", "Concat", "Flatten", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Pad", "Reshape", "Resize",
    "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""What works on codes as they are, or has an integer kernel as fast: worth it where codes come in and are wanted behind."""
FUSED = ("Relu", "Clip")
"""What the quantizer fuses into the operator before: the range is then that of what it lets through."""
_SETTINGS = {
    "Clip": 1,
    "Pad": 1,
    "Reshape": 1,
    "Resize": 1,
    "Slice": 1,
    "Split": 1,
    "Squeeze": 1,
    "Unsqueeze": 1,
}
"""Operators of which only the inputs before this one are data."""
LIGHT = 0.01
"""Share of all weights that the lightest layers may hold together and stay in float for it."""


@dataclass(frozen=True)
class Placement:
    """The names of the nodes to quantize, and why layers with weights are not among them, by node name."""

    nodes: frozenset[str]
    reasons: dict[str, str] = field(default_factory=dict)


def place(
    model: Any,
    layers: Sequence[OnnxLayer],
    chosen: Collection[str],
    operators: Operators,
    kinds: Collection[str],
    light: float = 0.0,
) -> Placement:
    """Which of the nodes `chosen` by the step's patterns are quantized.

    `operators` is `all`, the types wanted, or `auto`: the types `kinds` where they read weights, without the lightest
    layers that hold at most the share `light` of all weights together, and what stands between two of them.
    """
    if operators == "all":
        return Placement(frozenset(chosen))
    if operators != "auto":
        return Placement(
            frozenset(each.layer.name for each in layers if each.layer.kind in operators) & frozenset(chosen),
            {
                each.layer.name: f"`operators` has no {each.layer.kind}"
                for each in layers
                if each.layer.kind not in operators
            },
        )
    products = {
        each.layer.name: each
        for each in layers
        if each.weights and each.layer.kind in kinds and each.layer.name in chosen
    }
    few = _lightest(model, products, light)
    nodes = products.keys() - few.keys()
    return Placement(frozenset(_joined(model, nodes, set(chosen) - few.keys())), few)


def check_operators(operators: Operators, layers: Sequence[OnnxLayer], known: Collection[str]) -> None:
    """Raise `StageError` for a type that ONNX Runtime does not quantize, or that the graph has none of."""
    if not isinstance(operators, list):
        return
    there = {each.layer.kind for each in layers}
    for kind in operators:
        if kind not in known:
            raise StageError(
                "quantize",
                f"operators: ONNX Runtime does not quantize '{kind}'{did_you_mean(kind, known)}; or `all`, or `auto`",
            )
        if kind not in there:
            raise StageError(
                "quantize",
                f"operators: the graph has no {kind}{did_you_mean(kind, sorted(there))} (it has: "
                f"{', '.join(sorted(there & set(known)))})",
            )


def _lightest(model: Any, products: dict[str, OnnxLayer], share: float) -> dict[str, str]:
    """The layers with the fewest weights, which together hold at most `share` of them, and the reason.

    They are the first and the depthwise convolutions of most networks, where eight bits cost most, and gain nothing.
    A layer that shares its weight with one that is quantized is no lighter for staying in float, so it is not left.
    """
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    weights = {name: set(each.weights) for name, each in products.items()}
    readers: dict[str, int] = {}
    for names in weights.values():
        for weight in names:
            readers[weight] = readers.get(weight, 0) + 1
    total = sum(sizes[weight] for weight in readers)
    few: dict[str, str] = {}
    held = 0
    alone = [name for name in products if all(readers[weight] == 1 for weight in weights[name])]
    for name in sorted(alone, key=lambda name: sum(sizes[weight] for weight in weights[name])):
        held += sum(sizes[weight] for weight in weights[name])
        if held > share * total:
            break
        few[name] = f"too few weights to be worth the error (`float_share: {share:g}`)"
    return few


def _joined(model: Any, products: Collection[str], chosen: Collection[str]) -> set[str]:
    """`products`, with the nodes among `chosen` that only ever stand between two of them."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    maker = {name: node.name for node in graph.node for name in node.output}
    readers: dict[str, list[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.name)
    between = [node for node in graph.node if node.op_type in (*_JOINS, *FUSED) and node.name in chosen]
    kept = {*products, *(node.name for node in between)}

    def holds(node: Any) -> bool:
        read = [name for name in node.input[: _SETTINGS.get(node.op_type)] if name]
        data = [name for name in read if name not in constants]
        if not data:  # a tied weight that a reader wants turned
            return all(len(readers[name]) > 1 and kept.issuperset(readers[name]) for name in read)
        if not all(maker.get(name) in kept for name in data):
            return False
        wanted = all(
            name not in outputs and all(reader in kept for reader in readers.get(name, ()))
            for name in node.output
        )
        return node.op_type in FUSED or wanted

    while lost := [node for node in between if node.name in kept and not holds(node)]:
        kept -= {node.name for node in lost}
    return kept


def fused_into(model: Any, name: str, nodes: Collection[str]) -> set[str]:
    """The activations among `nodes` that the quantizer fuses into the node of that name."""
    made = {output for node in model.graph.node if node.name == name for output in node.output}
    return {
        node.name
        for node in model.graph.node
        if node.op_type in FUSED and node.name in nodes and node.input[0] in made
    }
