"""The buffers that a call of an exported program leaves otherwise than it found them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weighbridge.core.errors import StageError
from weighbridge.core.listed import few


def check_state(candidate: Any, original: Any) -> None:
    """Raise `StageError` where the candidate keeps a state between calls, and the original does not."""
    changed = changed_buffers(candidate)
    if changed and not changed_buffers(original):
        raise StageError(
            "open",
            f"each call of the candidate changes its own {few(changed)}, and the original keeps no state: what it answers "
            "depends on what it was asked before. Export a module whose forward leaves its buffers alone",
        )


def changed_buffers(program: Any) -> list[str]:
    """Their names: what the signature says of a program in functional form, and what an operator writes into in another."""
    signature = program.graph_signature
    written = (
        signature.inputs_to_buffers.get(_held(value).name)
        for node in program.graph.nodes
        for value in _written(node)
    )
    return sorted({*signature.buffers_to_mutate.values(), *filter(None, written)})


def _written(node: Any) -> Iterator[Any]:
    """The values that the operator writes into."""
    for argument, value in _given(node):
        if argument.alias_info is not None and argument.alias_info.is_write and hasattr(value, "op"):
            yield value


def _held(value: Any) -> Any:
    """What a view is of."""
    for argument, inner in _given(value):
        if argument.alias_info is not None and hasattr(inner, "op"):
            return _held(inner)
    return value


def _given(node: Any) -> Iterator[tuple[Any, Any]]:
    if node.op == "call_function" and hasattr(node.target, "_schema"):
        arguments = node.target._schema.arguments
        yield from zip(arguments, node.args, strict=False)
        yield from ((one, node.kwargs[one.name]) for one in arguments if one.name in node.kwargs)
