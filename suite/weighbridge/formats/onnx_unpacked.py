"""Integers of which the graph makes a weight by a list of values or bit by bit: palettes, and codes packed into words.

An export of a module that unpacks its own weights has them, and so have those of GPTQ and AWQ. Nothing else in the file
says that they are weights, and counted without them the model would have a hundredth of what it stores.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import TYPE_CHECKING

from weighbridge.formats.onnx_codes import source
from weighbridge.formats.onnx_flow import Flow, Key
from weighbridge.formats.onnx_operators import CARRIERS, STANDARD, TABLES, is_known, is_product

if TYPE_CHECKING:
    from weighbridge.contracts import Array

_BY_BITS = ("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot")
_EACH = ("Add", "Sub", "Mul", "Div", "Mod", "Neg", "Abs", "Floor", "Min", "Max", "Pow", "Concat", *_BY_BITS)
"""Operators whose every input is among the numbers that come out."""
_SOME = {"Where": (1, 2), "Clip": (0,), "DequantizeLinear": (0,), "QuantizeLinear": (0,)}
_LOOKED_UP = ("Gather", "GatherElements", "GatherND")
MOST_BITS = 32
"""As many numbers say by how much each bit of a word is shifted; with more, a constant is no such list."""


def unpacked(flow: Flow, known: Set[Key]) -> dict[Key, str]:
    """The integer constants, beside those that are `known`, that products and tables of vectors get their numbers of in this
    way, each with who multiplies.
    """
    found: dict[Key, str] = {}
    seen = set(known)
    for key, readers in list(flow.readers.items()):
        if key in flow.constants or key not in flow.derived:
            continue
        for reader in readers:
            node, position = reader.node, reader.position
            looked_up = is_known(node) and position in TABLES.get(node.op_type, ())
            lasting = any((reader.scope.index, name) not in flow.derived for name in node.output if name)
            if lasting and (looked_up or is_product(node, position)):
                for code in _integers(key, flow, seen):
                    found.setdefault(code, f"{node.op_type} ('{node.name or node.output[0]}')")
    return found


def _integers(key: Key, flow: Flow, seen: set[Key]) -> Iterator[Key]:
    """The lists of integers whose numbers a calculated value is made of."""
    pending = [key]
    while pending:
        key = pending.pop()
        while key in flow.origin:
            key = flow.origin[key]
        if key in seen:
            continue
        seen.add(key)
        if key in flow.constants:
            if _may_be_codes(flow.constants[key].array()):
                yield key
        elif key in flow.makers:
            pending += _numbers_of(key, flow)


def _numbers_of(key: Key, flow: Flow) -> list[Key]:
    """The inputs of the operator that makes the value whose numbers come out of it, turned into others or not."""
    node, scope = flow.makers[key]
    if node.domain not in STANDARD:
        return []
    kind, taken = node.op_type, flow.inputs(node, scope)
    positions = _SOME.get(kind) or CARRIERS.get(kind) or (tuple(range(len(taken))) if kind in _EACH else ())
    if kind in _LOOKED_UP and _is_palette(kind, taken, flow):
        positions = (0, 1)
    return [each for at in positions if at < len(taken) and (each := taken[at]) is not None]


def _may_be_codes(array: Array) -> bool:
    """Whether these are integers, more than say how words are shifted, and no count from here to there, as of positions."""
    import numpy as np

    return (
        array.dtype.kind in "iu"
        and array.size > MOST_BITS
        and bool(np.ptp(np.diff(array.ravel().astype(np.int64))))
    )


def _is_palette(kind: str, taken: list[Key | None], flow: Flow) -> bool:
    """Whether a list of values, shorter than that of the indices, is looked up: these say what each weight is.

    Where rows are looked up, as of relative positions, indices are places; a list that is as long holds the weights itself.
    """
    values, indices = (None if key is None else source(key, flow) for key in taken[:2])
    if values is None:
        return False
    of = flow.constants[values].array()
    if (
        kind != "GatherElements"
        and max(of.shape, default=0) < of.size
        and not _by_each_axis(taken[1], of.ndim, flow)
    ):
        return False
    return indices is None or flow.constants[indices].array().size > of.size


def _by_each_axis(indices: Key | None, rank: int, flow: Flow) -> bool:
    """Whether indices of GatherND are put together of one for each axis, so that each of them finds a single number."""
    node = flow.makers[indices][0] if indices in flow.makers else None
    return node is not None and node.op_type == "Concat" and len(node.input) == rank
