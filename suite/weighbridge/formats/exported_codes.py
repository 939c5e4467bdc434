"""The weights of an exported program that are integer codes: what its graph dequantizes before it calculates with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from weighbridge.contracts import Array, Quantization, Use

_OPERATORS = "quantized_decomposed.dequantize_per_"
_PRODUCTS = ("aten.linear.", "aten.conv1d.", "aten.conv2d.", "aten.conv3d.")
_MOVES = (
    "unsqueeze", "squeeze", "view", "reshape", "_unsafe_view", "permute", "t", "transpose", "expand", "clone", "contiguous", "to",
    "_to_copy", "slice", "select", "alias",
)  # fmt: skip
_TAKES_APART = ("bitwise_right_shift", "__rshift__", "floor_divide", "div")
"""What leaves the upper of several codes, dividing integers included."""


@dataclass(frozen=True)
class Codes:
    """How one tensor is quantized, the module that it belonged to, and the names of its scale and zero point."""

    quantization: Quantization
    layer: str
    use: Use
    parameters: tuple[str, ...]


def codes_of(program: Any) -> dict[str, Codes]:
    """By the name of a tensor of the program: those that are dequantized as they are stored."""
    names = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs if spec.target}
    held = {
        name: one
        for name, one in {**program.state_dict, **program.constants}.items()
        if hasattr(one, "detach")
    }
    found = {}
    for node in program.graph.nodes:
        if str(node.target).startswith(_OPERATORS) and node.args:
            name = names.get(str(node.args[0]))
            if name in held and (codes := _codes(node, held[name], names, held)) is not None:
                found[str(name)] = codes
    return found


def packed_in(program: Any) -> set[str]:
    """The names of integer matrices that the graph takes apart bit by bit, by whatever only moves them in between."""
    names = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs if spec.target}
    held = {**program.state_dict, **program.constants}
    found = set()
    for node in program.graph.nodes:
        tensor = held.get(names.get(node.name)) if node.op == "placeholder" else None
        if tensor is None or not hasattr(tensor, "detach") or tensor.is_floating_point():
            continue
        if sum(side > 1 for side in tensor.shape) > 1 and _is_taken_apart(node):
            found.add(str(names[node.name]))
    return found


def _is_taken_apart(node: Any) -> bool:
    pending = [node]
    while pending:
        value = pending.pop()
        for user in value.users:
            kind = str(user.target).removeprefix("aten.").partition(".")[0]
            if kind in _MOVES and not _is_float(user):
                pending.append(user)
            elif kind in _TAKES_APART and user.args[0] is value and not _is_float(user):
                return True
    return False


def _is_float(node: Any) -> bool:
    return bool(node.meta["val"].dtype.is_floating_point)


def _codes(node: Any, tensor: Any, names: Mapping[str, str], held: Mapping[str, Any]) -> Codes | None:
    """None for a call that no quantizer of torch's writes, whose numbers are then what they are."""

    def numbers(argument: Any) -> Array:
        name = names.get(str(argument))
        stored: Array = np.asarray(argument) if name is None else held[name].detach().numpy()
        return stored

    per_channel = str(node.target).startswith(f"{_OPERATORS}channel")
    try:
        axis, (lowest, highest) = (node.args[3], node.args[4:6]) if per_channel else (None, node.args[3:5])
        scale, zero_point = node.args[1:3]
        quantization = Quantization(
            (highest - lowest).bit_length(), numbers(scale), numbers(zero_point), axis
        )
        wanted = () if axis is None else (tensor.shape[axis],)
    except (IndexError, KeyError, TypeError, ValueError):
        return None
    if (quantization.scale.shape, quantization.zero_point.shape) != (wanted, wanted):
        return None
    if quantization.scale.dtype.kind != "f" or quantization.zero_point.dtype.kind != "i":
        return None
    parameters = tuple(names[str(one)] for one in (scale, zero_point) if str(one) in names)
    return Codes(quantization, *_reader(node, tensor.dim()), parameters)


def _reader(node: Any, rank: int) -> tuple[str, Use]:
    """The module that reads the numbers, and what they are to it."""
    for user in node.users:
        stack = [path for path, _ in (user.meta.get("nn_module_stack") or {}).values()]
        product = str(user.target).startswith(_PRODUCTS) and len(user.args) > 1 and user.args[1] is node
        layout = "oi" + "".join(map(str, range(rank - 2))) if product else ""
        return (stack[-1] if stack else ""), Use(layout=layout)
    return "", Use()
