"""Which channels of an ONNX graph belong together: who makes them, what goes along with them, who reads them.

They are followed from each stored matrix or filter through what treats channels one by one. Where they meet an operator
that does not, or that is not known here, their group is kept whole, and says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from weighbridge.formats.onnx_operators import STANDARD, attributes, integer
from weighbridge.steps.onnx_edits import read_inside, readers
from weighbridge.steps.onnx_types import shapes
from weighbridge.steps.prune.onnx_groups import Channels, Group, Role, Touch

_ONE_BY_ONE = frozenset((
    "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "Tanh", "HardSwish", "Swish", "Mish", "Gelu",
    "QuickGelu", "Erf", "Softplus", "Softsign", "Clip", "ThresholdedRelu", "Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal",
    "Floor", "Ceil", "Round", "Sign", "Identity", "Cast", "Dropout",
    "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool",
))  # fmt: skip
"""What is done to each channel alone, along axis 1 where it is about places."""
_DOMAINS = (*STANDARD, "com.microsoft")
_PAIRS = frozenset(["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu"])
_NORMALIZED = frozenset({"BatchNormalization", "InstanceNormalization"})
_REDUCED = frozenset(["ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL2"])


def follow(model: Any) -> list[Group]:
    """The groups of channels of the main graph, in its order. Nodes have names, constants are initializers."""
    return _Follower(model).run()


class _Follower:
    def __init__(self, model: Any) -> None:
        self.graph = model.graph
        self.stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self.shapes = shapes(model)
        self.readers = readers(model)
        self.inside = read_inside(model)
        self.found: dict[str, Channels] = {}
        self.groups: list[Group] = []

    def run(self) -> list[Group]:
        rules: dict[str, Callable[[Any], Channels | None]] = {
            "Conv": self._conv,
            "ConvTranspose": self._conv,
            "Gemm": self._gemm,
            "MatMul": self._matmul,
            "Flatten": self._reshape,
            "Reshape": self._reshape,
            "Squeeze": self._reshape,
            "Unsqueeze": self._reshape,
            "Transpose": self._transpose,
            "Shape": lambda node: None,  # what it tells follows the width by itself
            **dict.fromkeys(_ONE_BY_ONE, self._first),
            **dict.fromkeys(_PAIRS, self._pair),
            **dict.fromkeys(_NORMALIZED, self._normalize),
            **dict.fromkeys(_REDUCED, self._reduce),
        }
        for node in self.graph.node:
            rule = rules.get(node.op_type) if node.domain in _DOMAINS else None
            elsewhere = node.op_type not in _PAIRS and any(name in self.found for name in node.input[1:])
            channels = rule(node) if rule and not elsewhere else self._keep(node)
            if channels is not None and node.output:
                self.found[node.output[0]] = channels
        outputs = {value.name for value in self.graph.output}
        for name, channels in self.found.items():
            if name in outputs or name in self.inside:
                why = "an output of the model" if name in outputs else "what a body of control flow reads"
                self._whole(channels, f"they are {why}")
        return [group for group in self.groups if group._joined is None]

    # ------------------------------------------------------------------------------------ layers with weights

    def _conv(self, node: Any) -> Channels | None:
        given, weight = self.found.get(node.input[0]), self.stored.get(node.input[1])
        if weight is None:
            return self._keep(node)
        groups, turned = integer(node, "group", 1), node.op_type == "ConvTranspose"
        makes, reads = (1, 0) if turned else (0, 1)
        if groups == weight.dims[0] > 1 and weight.dims[1] == 1:
            return self._depthwise(node, given)
        if groups > 1 or self.readers[node.input[1]] > 1:
            why = "its filters are in groups" if groups > 1 else "its weight is shared"
            return self._keep(node, why)
        if given is not None:
            if given.axis != 1 or given.repeat != 1:
                return self._keep(node)
            self._touch(given.group, node, 1, reads, 1, "reads")
        return self._made(node, int(weight.dims[makes]), makes, 1, len(weight.dims))

    def _depthwise(self, node: Any, given: Channels | None) -> Channels | None:
        if given is None or given.axis != 1 or given.repeat != 1 or self.readers[node.input[1]] > 1:
            return self._keep(node)
        self._touch(given.group, node, 1, 0, 1, "along")
        given.group.root().depthwise.append(node)
        if self._biased(node) and not self._vector(given, node, 2, 0):
            return self._keep(node)
        return given

    def _gemm(self, node: Any) -> Channels | None:
        weight = self.stored.get(node.input[1])
        if weight is None or integer(node, "transA", 0):
            return self._keep(node)
        if self.readers[node.input[1]] > 1:
            return self._keep(node, "its weight is shared")
        makes, reads = (0, 1) if integer(node, "transB", 0) else (1, 0)
        if not self._read(node, reads, 1):
            return self._keep(node)
        return self._made(node, int(weight.dims[makes]), makes, 1, 2)

    def _matmul(self, node: Any) -> Channels | None:
        weight, given = self.stored.get(node.input[1]), self.found.get(node.input[0])
        if weight is None:
            return self._keep(node)
        shape = self.shapes.get(node.input[0], [])
        rank = given.rank if given else len(shape)
        if self.readers[node.input[1]] > 1:
            return self._keep(node, "its weight is shared")
        if len(weight.dims) != 2:
            return self._keep(node, "its weight is no single matrix")
        if rank < 2:
            return self._keep(node, "how many axes it works on is not known")
        if not self._read(node, 0, rank - 1):
            return self._keep(node)
        return self._made(node, int(weight.dims[1]), 1, rank - 1, rank)

    def _read(self, node: Any, reads: int, axis: int) -> bool:
        """Note that a matrix reads the channels along `axis` of its first input; False where they stand elsewhere."""
        given = self.found.get(node.input[0])
        if given is not None and given.axis == axis:
            self._touch(given.group, node, 1, reads, given.repeat, "reads")
        return given is None or given.axis == axis

    def _made(self, node: Any, width: int, makes: int, axis: int, rank: int) -> Channels | None:
        group = Group(width)
        self.groups.append(group)
        self._touch(group, node, 1, makes, 1, "makes")
        channels = Channels(group, axis, rank)
        if self._biased(node) and not self._vector(channels, node, 2, None if node.op_type == "Gemm" else 0):
            self._whole(channels, f"{_named(node)} adds to them what is not stored")
        return channels

    def _biased(self, node: Any) -> bool:
        return len(node.input) > 2 and bool(node.input[2])

    # ------------------------------------------------------------------------------ what treats them one by one

    def _first(self, node: Any) -> Channels | None:
        given = self.found.get(node.input[0])
        if given is not None and node.op_type.endswith("Pool") and given.axis != 1:
            return self._keep(node)
        return given

    def _pair(self, node: Any) -> Channels | None:
        if len(node.input) != 2:
            return self._keep(node)
        one, two = (self.found.get(name) for name in node.input)
        if one is None and two is None:
            return None
        if one is not None and two is not None:
            narrow, wide = sorted((one, two), key=lambda each: each.size)
            if narrow.size == 1 < wide.size and narrow.from_end == wide.from_end:
                return wide.in_rank(narrow.rank)  # one number for all channels
            if not one.like(two):
                return self._keep(node)
            one.group.join(two.group)
            return one.in_rank(two.rank)
        given, position = (one, 1) if one is not None else (two, 0)
        assert given is not None
        other = node.input[position]
        if other in self.stored:
            fits = self._vector(given, node, position, None)
            return given.in_rank(len(self.stored[other].dims)) if fits else self._keep(node)
        shape = self.shapes.get(other)
        if shape is None or (len(shape) >= given.from_end and shape[-given.from_end] != 1):
            return self._keep(node)
        return given.in_rank(len(shape))

    def _normalize(self, node: Any) -> Channels | None:
        given = self.found.get(node.input[0])
        if given is None:
            return None
        if given.axis != 1 or not all(
            self._vector(given, node, position, 0) for position in range(1, len(node.input))
        ):
            return self._keep(node)
        return given

    def _vector(self, given: Channels, node: Any, position: int, axis: int | None) -> bool:
        """Note a stored operand that holds a number a channel: along `axis`, or where it meets the channels.

        False where it is not stored, or holds something else.
        """
        tensor = self.stored.get(node.input[position])
        if tensor is None:
            return False
        place = len(tensor.dims) - given.from_end if axis is None else axis
        if axis is None and (place < 0 or tensor.dims[place] == 1):
            return True
        if tensor.dims[place] != given.size:
            return False
        self._touch(given.group, node, position, place, given.repeat, "along")
        return True

    def _transpose(self, node: Any) -> Channels | None:
        given = self.found.get(node.input[0])
        if given is None:
            return None
        perm = attributes(node).get("perm")
        order = list(range(given.rank))[::-1] if perm is None else list(perm.ints)
        return replace(given, axis=order.index(given.axis))

    def _reduce(self, node: Any) -> Channels | None:
        given = self.found.get(node.input[0])
        axes = self._integers(node, "axes", 1)
        if given is None:
            return None
        gone = sorted({axis % given.rank for axis in axes or ()})
        if not gone or given.axis in gone:
            return self._keep(node)
        if integer(node, "keepdims", 1):
            return given
        before = sum(axis < given.axis for axis in gone)
        return replace(given, axis=given.axis - before, rank=given.rank - len(gone))

    def _reshape(self, node: Any) -> Channels | None:
        """Flatten, Squeeze, Unsqueeze too: the axes before the channels stay, and they with what follows become one, or
        stay alone."""
        given = self.found.get(node.input[0])
        if given is None:
            return None
        before, after = self.shapes.get(node.input[0]), self.shapes.get(node.output[0])
        if before is None or after is None or given.axis >= len(after):
            return self._keep(node)
        inner, left = before[given.axis + 1 :], after[given.axis + 1 :]
        if None in (*inner, *left) or before[: given.axis] != after[: given.axis]:
            return self._keep(node)
        behind, kept = math.prod(inner), math.prod(left)  # type: ignore[arg-type]  # none is open
        size = after[given.axis]
        if size == given.size and behind == kept:
            channels = replace(given, rank=len(after))
        elif size == given.size * behind and kept == 1:
            channels = replace(given, rank=len(after), repeat=given.repeat * behind)
        else:
            return self._keep(node)
        if node.op_type == "Reshape":
            target = self._integers(node, "", 1)
            if target is None or len(target) != len(after):
                return self._keep(node)
            if target[given.axis] > 0:
                given.group.root().shapes.append(Touch(node, 1, given.axis, channels.repeat, "along"))
        return channels

    # --------------------------------------------------------------------------------------------- shared by all

    def _integers(self, node: Any, name: str, position: int) -> list[int] | None:
        """A list of integers from an attribute or a stored input; None where it is neither."""
        import onnx

        own = attributes(node).get(name)
        if own is not None:
            return list(own.ints)
        tensor = self.stored.get(node.input[position]) if len(node.input) > position else None
        return None if tensor is None else onnx.numpy_helper.to_array(tensor).reshape(-1).tolist()

    def _touch(self, group: Group, node: Any, position: int, axis: int, repeat: int, role: Role) -> None:
        group.root().touches.append(Touch(node, position, axis, repeat, role))

    def _keep(self, node: Any, why: str = "") -> Channels | None:
        """Whatever channels the node is given stay whole; it makes none that could go, for the reason `why` of a layer."""
        for name in node.input:
            if name in self.found:
                self._whole(self.found[name], f"{_named(node)} reads them{f', and {why}' if why else ''}")
        if why:
            self.groups.append(Group(0, [Touch(node, 1, 0, 1, "makes")], kept=why))
        return None

    def _whole(self, channels: Channels, why: str) -> None:
        root = channels.group.root()
        root.kept = root.kept or why


def _named(node: Any) -> str:
    return f"{node.name} ({node.op_type})"
