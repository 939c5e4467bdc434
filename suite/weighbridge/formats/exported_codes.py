"""The weights of an exported program that are integer codes: what its graph dequantizes before it calculates with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from weighbridge.contracts import Array, Quantization, Use

_OPERATORS = "quantized_decomposed.dequantize_per_"
_PRODUCTS = ("aten.linear.", "aten.conv1d.", "aten.conv2d.", "aten.conv3d.")


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
    held = {**program.state_dict, **program.constants}

    def numbers(argument: Any) -> Array:
        name = names.get(str(argument))
        stored: Array = np.asarray(argument) if name is None else held[name].numpy()
        return stored

    found = {}
    for node in program.graph.nodes:
        name = names.get(str(node.args[0])) if str(node.target).startswith(_OPERATORS) else None
        if name not in held:
            continue
        per_channel = str(node.target).startswith(f"{_OPERATORS}channel")
        axis, (lowest, highest) = (node.args[3], node.args[4:6]) if per_channel else (None, node.args[3:5])
        scale, zero_point = node.args[1:3]
        quantization = Quantization(
            (highest - lowest).bit_length(), numbers(scale), numbers(zero_point), axis
        )
        parameters = tuple(names[str(one)] for one in (scale, zero_point) if str(one) in names)
        found[str(name)] = Codes(quantization, *_reader(node, held[name].dim()), parameters)
    return found


def _reader(node: Any, rank: int) -> tuple[str, Use]:
    """The module that reads the numbers, and what they are to it."""
    for user in node.users:
        stack = [path for path, _ in (user.meta.get("nn_module_stack") or {}).values()]
        product = str(user.target).startswith(_PRODUCTS) and user.args[1] is node
        layout = "oi" + "".join(map(str, range(rank - 2))) if product else ""
        return (stack[-1] if stack else ""), Use(layout=layout)
    return "", Use()
