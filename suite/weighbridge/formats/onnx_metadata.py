"""What an ONNX model says about itself and no engine reads: `metadata_props` and `doc_string`, wherever they stand.

Exporters write stack traces, local paths and class names there, for every node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_FIELDS = ("metadata_props", "doc_string")


def strip(model: Any) -> None:
    """Remove it, in place."""
    for message in _messages(model):
        for name in _FIELDS:
            if name in message.DESCRIPTOR.fields_by_name:
                message.ClearField(name)


def metadata_bytes(model: Any) -> int:
    """What it takes in the file."""
    return sum(_size(message, name) for message in _messages(model) for name in _FIELDS)


def _size(message: Any, name: str) -> int:
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        return 0
    value = getattr(message, name)
    parts = (
        [len(value.encode())] * bool(value)
        if isinstance(value, str)
        else [entry.ByteSize() for entry in value]
    )
    tag = 1 if field.number < 16 else 2
    return sum(tag + _varint(length) + length for length in parts)


def _varint(value: int) -> int:
    return -(-max(value.bit_length(), 1) // 7)


def _messages(model: Any) -> Iterator[Any]:
    """The model and every message in it that may bear metadata."""
    yield model
    pending = [model.graph, *model.functions]
    while pending:
        graph = pending.pop()
        yield graph
        for name in ("initializer", "input", "output", "value_info"):
            yield from (each for each in getattr(graph, name, ()) if not isinstance(each, str))
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            yield node
            for attribute in node.attribute:
                yield attribute
                yield from ([attribute.t] if attribute.HasField("t") else [])
                pending += [attribute.g] if attribute.HasField("g") else []
                pending += attribute.graphs
