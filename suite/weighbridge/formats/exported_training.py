"""Operators of an exported program that compute as in training: a forgotten `model.eval()` before `torch.export.export`."""

from __future__ import annotations

from typing import Any

_TRAINS = ("training", "train")
_SHARES = ("p", "dropout")
"""What share of the numbers is dropped; of none, training is no other than use."""


def in_training(program: Any) -> list[str]:
    """The calls, by name, of batch normalizations that take the batch's own mean and variance, and of dropouts that draw."""
    return [
        f"{node.name} ({node.target._schema.name})"
        for node in program.graph.nodes
        if node.op == "call_function" and hasattr(node.target, "_schema") and _trains(node)
    ]


def _trains(node: Any) -> bool:
    arguments = node.target._schema.arguments
    given = {argument.name: argument.default_value for argument in arguments if argument.has_default_value()}
    given |= dict(zip((argument.name for argument in arguments), node.args, strict=False))
    given |= node.kwargs
    drops = [given[name] for name in _SHARES if name in given]
    return any(given.get(name) is True for name in _TRAINS) and (not drops or any(drops))
