"""Where a scale can move in an ONNX graph: from the channels that one layer makes to the layers that read them.

What makes a channel is divided by its scale, and what reads it is multiplied by it: the graph computes the same. Between the
two stands only what passes a scale on, and nobody else reads the channels on their way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weighbridge.formats.onnx_operators import attributes, integer
from weighbridge.steps.onnx_edits import readers
from weighbridge.steps.onnx_types import shapes

if TYPE_CHECKING:
    from weighbridge.contracts import Array

_SCALING = ("Relu", "LeakyRelu", "PRelu", "Identity", "Dropout")
"""f(x / s) is f(x) / s for a positive s, number by number."""
_POOLING = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
_RESHAPING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_NORMS = {"LayerNormalization": -1, "BatchNormalization": 1, "InstanceNormalization": 1}
"""What multiplies by a stored gain, and the axis of its channels."""
_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose")


class NotHere(Exception):
    """Why a scale cannot move, as a clause."""


@dataclass(frozen=True)
class Touch:
    """A stored tensor with the channels along `axis`, of which each of `groups` equal parts of axis 0 has its own."""

    tensor: str
    axis: int
    groups: int = 1


@dataclass(frozen=True, eq=False)
class Pair:
    """Channels that may be scaled. `value`, with the channels along `axis`, is what the first reader reads."""

    makers: tuple[Touch, ...]
    readers: tuple[Touch, ...]
    nodes: tuple[Any, ...]
    """Those that make and read the channels."""
    made_by: str
    """The operator type that makes them."""
    read_by: tuple[str, ...]
    """The operator types of the readers, in their order."""
    value: str
    axis: int
    width: int

    @property
    def label(self) -> str:
        return f"{_owner(self.makers[0].tensor)} → {', '.join(self.reading)}"

    @property
    def reading(self) -> list[str]:
        """The layers that read the channels."""
        return list(dict.fromkeys(_owner(touch.tensor) for touch in self.readers))


def _owner(tensor: str) -> str:
    return tensor.rpartition(".")[0] or tensor


def scaled(stored: dict[str, Array], touch: Touch, scale: Array) -> None:
    """Multiply the channels of a stored tensor by `scale`, [channels]."""
    import numpy as np

    array = stored[touch.tensor]
    grouped = array.reshape(touch.groups, -1, *array.shape[1:]).astype(np.float64)
    factor = [1] * grouped.ndim
    factor[0], factor[touch.axis + 1] = touch.groups, -1
    stored[touch.tensor] = (grouped * scale.reshape(factor)).reshape(array.shape).astype(array.dtype)


def reach(array: Array, touch: Touch) -> Array:
    """The largest magnitude of each channel of a stored tensor, [channels]."""
    import numpy as np

    grouped = np.moveaxis(np.abs(array.reshape(touch.groups, -1, *array.shape[1:])), touch.axis + 1, 1)
    found: Array = grouped.reshape(*grouped.shape[:2], -1).max(2).reshape(-1)
    return found


def find_pairs(proto: Any) -> tuple[list[Pair], dict[str, str]]:
    """The pairs of the main graph, from its inputs on, and by name the products whose input cannot be scaled, and why."""
    graph = _Graph(proto)
    pairs: dict[str, Pair] = {}
    left: dict[str, str] = {}
    for node in proto.graph.node:
        if node.op_type not in _PRODUCTS or graph.weight(node) is None:
            continue
        try:
            root, axis = graph.root(node.input[0], graph.read_axis(node))
            if root not in pairs:
                pairs[root] = graph.pair(root, axis)
        except NotHere as reason:
            left[_owner(node.input[1])] = str(reason)
    return list(pairs.values()), left


class _Graph:
    """Who makes and who reads each value, and its shape as far as it is known."""

    def __init__(self, proto: Any) -> None:
        import onnx

        nodes = proto.graph.node
        self.stored: dict[str, tuple[int, ...]] = {
            tensor.name: tuple(tensor.dims)
            for tensor in proto.graph.initializer
            if tensor.data_type == onnx.TensorProto.FLOAT
        }
        self._makers = {name: node for node in nodes for name in node.output if name}
        self._behind: dict[str, list[tuple[Any, int]]] = {}
        for node in nodes:
            for position, name in enumerate(node.input):
                self._behind.setdefault(name, []).append((node, position))
        self._reads = readers(proto)
        self._shapes = shapes(proto)

    def weight(self, node: Any) -> str | None:
        """The stored matrix or filter of a product, where it stands on the right."""
        name = node.input[1]
        return name if len(self.stored.get(name, ())) > 1 else None

    def read_axis(self, node: Any) -> int:
        """The axis of the channels in what a product reads."""
        if node.op_type.startswith("Conv"):
            return 1
        if node.op_type == "Gemm" and integer(node, "transA", 0):
            raise NotHere("it reads its input transposed")
        return len(self._shape(node.input[0])) - 1

    def root(self, value: str, axis: int) -> tuple[str, int]:
        """The value that a layer makes, behind what only passes it on, and the axis of the channels there."""
        node = self._makers.get(value)
        while node is not None and _passes(node):
            axis = self._across(node, axis, back=True)
            value = node.input[0]
            node = self._makers.get(value)
        return value, axis

    def pair(self, root: str, axis: int) -> Pair:
        """The channels of `root`. Raises `NotHere`."""
        node = self._makers.get(root)
        if node is None:
            raise NotHere("it reads an input of the model")
        width = self._shape(root)[axis]
        if width is None:
            raise NotHere("how many channels it reads is not known")
        makers, made = self._absorbing(node, axis, width)
        found, nodes, value, at = self._reading(root, axis)
        if width != self._width(found[0]):
            raise NotHere("its channels are not those that are made")
        read_by = tuple(node.op_type for node in nodes)
        return Pair(tuple(makers), tuple(found), (*made, *nodes), made[0].op_type, read_by, value, at, width)

    def _reading(self, root: str, axis: int) -> tuple[list[Touch], list[Any], str, int]:
        """Every product that reads the channels, the first one's input, and the axis there."""
        touches, nodes, first = [], [], None
        pending = [(root, axis)]
        while pending:
            value, at = pending.pop()
            behind = self._behind.get(value, [])
            if len(behind) != self._reads[value]:
                raise NotHere("its input is an output of the model, or is read in a body, too")
            for node, position in behind:
                if position == 0 and _passes(node):
                    pending.append((node.output[0], self._across(node, at, back=False)))
                    continue
                if position or node.op_type not in _PRODUCTS or not self.weight(node):
                    raise NotHere(f"{node.op_type} '{node.name}' reads its input too")
                if self.read_axis(node) != at:
                    raise NotHere(f"{node.op_type} '{node.name}' reads its input along another axis")
                touches.append(self._input_side(node))
                nodes.append(node)
                first = first or (value, at)
        if first is None:
            raise NotHere("nothing reads it")
        return touches, nodes, *first

    def _absorbing(self, node: Any, axis: int, width: int) -> tuple[list[Touch], list[Any]]:
        """The stored tensors to divide so that what `node` makes is divided along `axis`."""
        kind, rank = node.op_type, len(self._shape(node.output[0]))
        if kind in _NORMS and _NORMS[kind] % rank == axis:
            return [self._vector(name, width) for name in node.input[1:3] if name], [node]
        if kind in _PRODUCTS and self.weight(node):
            if axis != (1 if kind.startswith("Conv") else rank - 1):
                raise NotHere(f"{kind} '{node.name}' makes its input along another axis")
            product = self._output_side(node)
            if self._width(product) != width:
                raise NotHere(f"one channel that '{node.name}' makes is spread over all that it reads")
            biases = [self._vector(name, width) for name in node.input[2:3] if name]
            return [product, *biases], [node]
        if kind in ("Mul", "Add") and sum(name in self.stored for name in node.input) == 1:
            position = 0 if node.input[0] in self.stored else 1
            shape, other = self.stored[node.input[position]], node.input[1 - position]
            place = len(shape) - rank + axis
            if 0 <= place < len(shape) and shape[place] == width:
                if kind == "Mul":
                    return [self._vector(node.input[position], width)], [node]
                if self._reads[other] != 1:
                    raise NotHere(f"what '{node.name}' adds to is read elsewhere too")
                maker = self._makers.get(other)
                if maker is None:
                    raise NotHere("it reads an input of the model")
                touches, nodes = self._absorbing(maker, axis, width)
                return [*touches, self._vector(node.input[position], width)], [*nodes, node]
        raise NotHere(f"{kind} '{node.name}' makes its input, which takes no scale")

    def _input_side(self, node: Any) -> Touch:
        name, kind = node.input[1], node.op_type
        if kind == "Conv":
            axis, groups = 1, integer(node, "group", 1)
        elif kind == "ConvTranspose":
            axis, groups = 0, 1
        else:
            rank = len(self.stored[name])
            axis, groups = (1 if kind == "Gemm" and integer(node, "transB", 0) else rank - 2), 1
        return self._alone(Touch(name, axis, groups))

    def _output_side(self, node: Any) -> Touch:
        name, kind = node.input[1], node.op_type
        if kind == "Conv":
            return self._alone(Touch(name, 0))
        if kind == "ConvTranspose":
            return self._alone(Touch(name, 1, integer(node, "group", 1)))
        turned = kind == "Gemm" and integer(node, "transB", 0)
        return self._alone(Touch(name, 0 if turned else len(self.stored[name]) - 1))

    def _vector(self, name: str, width: int) -> Touch:
        """A stored tensor with a number a channel, and nothing else."""
        shape = self.stored.get(name, ())
        if [side for side in shape if side != 1] != [width]:
            raise NotHere(f"'{name}' is not one number a channel")
        return self._alone(Touch(name, shape.index(width)))

    def _alone(self, touch: Touch) -> Touch:
        if self._reads[touch.tensor] != 1:
            raise NotHere(f"'{touch.tensor}' is read elsewhere too")
        return touch

    def _width(self, touch: Touch) -> int:
        return self.stored[touch.tensor][touch.axis] * touch.groups

    def _across(self, node: Any, axis: int, back: bool) -> int:
        """The axis on the other side of an operator that passes a scale on."""
        if node.op_type == "Transpose":
            stated = attributes(node).get("perm")
            rank = len(self._shape(node.input[0]))
            perm: list[int] = (
                list(range(rank))[::-1] if stated is None else [int(axis) for axis in stated.ints]
            )
            return perm[axis] if back else perm.index(axis)
        if node.op_type in _RESHAPING:
            before, after = self._shape(node.input[0]), self._shape(node.output[0])
            return self._same_place(after, before, axis) if back else self._same_place(before, after, axis)
        if node.op_type in _POOLING and axis != 1:
            raise NotHere(f"{node.op_type} '{node.name}' stands before it")
        return axis

    def _same_place(self, here: Sequence[int | None], there: Sequence[int | None], axis: int) -> int:
        """The axis of another shape of the same numbers that counts the same channels: as long, with as much behind it."""
        behind = _product(here[axis + 1 :])
        found = [
            other
            for other, side in enumerate(there)
            if behind is not None
            and side == here[axis] is not None
            and _product(there[other + 1 :]) == behind
        ]
        if not found:
            raise NotHere("its channels are put together otherwise before it")
        return found[-1]

    def _shape(self, value: str) -> list[int | None]:
        if value not in self._shapes:
            raise NotHere(f"the shape of '{value}' is not known")
        return self._shapes[value]


def _passes(node: Any) -> bool:
    return node.op_type in (*_SCALING, *_POOLING, *_RESHAPING, "Transpose")


def _product(sides: Sequence[int | None]) -> int | None:
    known = [side for side in sides if side is not None]
    return math.prod(known) if len(known) == len(sides) else None
