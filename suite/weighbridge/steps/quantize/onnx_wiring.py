"""Who makes and who reads what in the main graph of an ONNX model, and which nodes integers can pass through."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

FUSED = ("Relu", "Clip")
"""What the quantizer fuses into the operator before: the range is then that of what it lets through."""
JOINS = (
    "Add", "AveragePool", "Concat", "Flatten", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Pad", "Reshape", "Resize",
    "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""What works on codes as they are, or has an integer kernel as fast: worth it where codes come in and are wanted behind."""
GIVE_FLOATS = ("Gemm", "MatMul")
"""Integer products of which there is a kernel with a float result."""
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


class Wiring:
    """The nodes of a graph by name, and what runs between them. Nodes must have names."""

    def __init__(self, model: Any) -> None:
        self.nodes = {node.name: node for node in model.graph.node}
        self.outputs = {value.name for value in model.graph.output}
        self.stored = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        self._makers = {name: node.name for node in model.graph.node for name in node.output}
        self._readers: dict[str, list[str]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node.name)

    def data(self, name: str) -> list[str]:
        """The values that a node computes with, without what is stored and what only sets it up."""
        node = self.nodes[name]
        return [
            each for each in node.input[: _SETTINGS.get(node.op_type)] if each and each not in self.stored
        ]

    def readers(self, value: str) -> list[str]:
        return self._readers.get(value, [])

    def made_by(self, value: str, nodes: Collection[str]) -> bool:
        return self._makers.get(value) in nodes

    def read_by(self, name: str, nodes: Collection[str]) -> bool:
        """Whether what the node gives is wanted by `nodes` alone, and not outside the model."""
        return all(
            value not in self.outputs and all(reader in nodes for reader in self.readers(value))
            for value in self.nodes[name].output
        )

    def behind(self, name: str, through: Callable[[str], bool]) -> Iterator[str]:
        """What reads the node's results, and what reads those of the nodes that are gone `through`; each node once."""
        seen: set[str] = set()
        ahead = [name]
        while ahead:
            for value in self.nodes[ahead.pop()].output:
                for reader in self.readers(value):
                    if reader in seen:
                        continue
                    seen.add(reader)
                    yield reader
                    if through(reader):
                        ahead.append(reader)


def joined(wiring: Wiring, products: Collection[str], chosen: Collection[str]) -> set[str]:
    """`products`, with the nodes among `chosen` that only ever stand between two of them, or are fused into a convolution."""
    between = {
        name for name, node in wiring.nodes.items() if node.op_type in (*JOINS, *FUSED) and name in chosen
    }
    kept = {*products, *between}
    convolutions = {name for name in products if wiring.nodes[name].op_type not in GIVE_FLOATS}

    def holds(name: str) -> bool:
        node, data = wiring.nodes[name], wiring.data(name)
        if not data:  # a tied weight that a reader wants turned
            read = [each for each in node.input[: _SETTINGS.get(node.op_type)] if each]
            return all(
                len(wiring.readers(each)) > 1 and kept.issuperset(wiring.readers(each)) for each in read
            )
        if not all(wiring.made_by(value, kept) for value in data):
            return False
        fused = node.op_type in FUSED and wiring.made_by(data[0], convolutions)
        return fused or wiring.read_by(name, kept)

    while lost := {name for name in between & kept if not holds(name)}:
        kept -= lost
    return kept


def fused_into(model: Any, name: str, nodes: Collection[str]) -> set[str]:
    """The activations among `nodes` that the quantizer fuses into the node of that name."""
    made = {output for node in model.graph.node if node.name == name for output in node.output}
    return {
        node.name
        for node in model.graph.node
        if node.op_type in FUSED and node.name in nodes and node.input[0] in made
    }
