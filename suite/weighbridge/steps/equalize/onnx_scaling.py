"""What the ways to equalize share: which pairs they take, how scales are written, and that the model computes the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weighbridge.contracts import Context, Model, Options
from weighbridge.core.errors import StageError
from weighbridge.core.listed import few
from weighbridge.steps.equalize.onnx_inserted import insert_scales, take_out
from weighbridge.steps.equalize.onnx_pairs import Pair, find_pairs, owner, reach, scaled
from weighbridge.steps.onnx_answers import give_the_same
from weighbridge.steps.onnx_edits import drop_unused, free_name, name_nodes, names, readers, reread
from weighbridge.steps.onnx_fold import constants_to_initializers, fold
from weighbridge.steps.selection import Layer, matching

if TYPE_CHECKING:
    from weighbridge.contracts import Array

_EXTREME = 1e5
"""Largest scale, and the inverse of the smallest: beyond, a channel is as good as dead on one of the sides."""


class EqualizeOptions(Options):
    exclude: list[str] = Field(
        default_factory=list,
        description="Layers whose scales are left alone: names or patterns of nodes, weights or layers, or operator types.",
    )


Scales = Callable[[Any, Sequence[Pair], dict[str, "Array"]], Mapping[Pair, "Array"]]
"""Of a graph, its pairs and its stored arrays, the scale of each channel of some of the pairs."""


def equalized(
    method: str,
    model: Model,
    options: EqualizeOptions,
    context: Context,
    unfit: Callable[[Pair], str],
    scales: Scales,
    insert: bool | None = None,
) -> Model:
    """A copy with scales moved between the layers of pairs, which computes the same. `unfit` says why a pair is left alone;
    with `insert`, dense layers whose input takes no scale have a Mul of their own in front. None: there is no such option.

    Raises `StageError` where there is no pair, and where answers differ by more than rounding.
    """
    import onnx

    step = f"equalize: {method}"
    made = onnx.ModelProto()
    made.CopyFrom(model.value)
    constants_to_initializers(made)
    fold(made)
    name_nodes(made)
    copies = _set_apart(made)
    pairs, left = find_pairs(made)
    inserted = insert_scales(made, left) if insert else {}
    if inserted:
        pairs, left = find_pairs(made)
    spared = _spared(pairs, options.exclude)
    why_not = {
        pair: unfit(pair) if pair in spared else "`exclude` names it, or what it reads" for pair in pairs
    }
    chosen = [pair for pair in pairs if not why_not[pair]]
    left |= {name: why for pair, why in why_not.items() if why for name in pair.reading}
    reasons = [f"{', '.join(names)} reads what it did: {why}" for why, names in _by_reason(left).items()]
    if not chosen:
        advice = "; `insert: true` puts scales in front of dense layers" if insert is False else ""
        raise StageError(
            "equalize",
            f"no scale can be moved{advice}: {'; '.join(reasons) or 'no layer reads another'}",
            step,
        )
    tensors = _touched(chosen)
    stored = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in made.graph.initializer
        if tensor.name in tensors
    }
    found = scales(made, chosen, stored)
    read = {pair.value for pair in found}
    take_out(made, {name: value for name, value in inserted.items() if name not in read})
    for pair, scale in found.items():
        move(stored, pair, scale)
    for tensor in made.graph.initializer:
        if tensor.name in stored:
            tensor.CopyFrom(onnx.numpy_helper.from_array(stored[tensor.name], tensor.name))
    moved = _touched(found)
    reread(made.graph.node, {name: old for name, old in copies.items() if name not in moved})
    drop_unused(made)
    if not give_the_same(model.value, made, context):
        raise StageError(
            "equalize",
            "with scales moved the model answers otherwise than before, by more than rounding; leave layers to `exclude`: "
            + few([pair.label for pair in found]),
            step,
        )
    said = f"scales moved: {few([pair.label for pair in found])}"
    return Model("onnx", made, model.source, (*model.notes, said, *reasons))


def _touched(pairs: Iterable[Pair]) -> set[str]:
    """The stored tensors that scales of these pairs go into."""
    return {touch.tensor for pair in pairs for touch in (*pair.makers, *pair.readers)}


def _set_apart(proto: Any) -> dict[str, str]:
    """Give each node its own copy of a vector that several read, as exporters store equal ones once; copy -> original."""
    import onnx

    read = readers(proto)
    stored = {
        tensor.name: tensor
        for tensor in proto.graph.initializer
        if read[tensor.name] > 1 and sum(side > 1 for side in tensor.dims) == 1
    }
    taken = names(proto)
    copies = {}
    for node in proto.graph.node:
        for position, name in enumerate(node.input):
            if name in stored:
                tensor = onnx.TensorProto()
                tensor.CopyFrom(stored[name])
                tensor.name = node.input[position] = free_name(f"{name}_{node.name}", taken)
                proto.graph.initializer.append(tensor)
                copies[tensor.name] = name
    return copies


def move(stored: dict[str, Array], pair: Pair, scale: Array) -> None:
    """Divide what makes the channels by `scale`, [channels], and multiply what reads them."""
    for touch in pair.makers:
        scaled(stored, touch, 1 / scale)
    for touch in pair.readers:
        scaled(stored, touch, scale)


def reads(stored: Mapping[str, Array], pair: Pair) -> Array:
    """The largest weight by which each channel is read, [channels]."""
    import numpy as np

    found: Array = np.max([reach(stored[touch.tensor], touch) for touch in pair.readers], axis=0)
    return found


def usable(scale: Array) -> Array:
    """1 where a scale is no number, as of a channel that is always zero; none is extreme."""
    import numpy as np

    sound: Array = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
    return np.clip(sound, 1 / _EXTREME, _EXTREME)


def _spared(pairs: Sequence[Pair], exclude: Sequence[str]) -> list[Pair]:
    """The pairs of which no layer is excluded."""
    layers = {pair: [_layer(node) for node in pair.nodes] for pair in pairs}
    every = [layer for some in layers.values() for layer in some]
    dropped = matching("equalize", "exclude", "no layer with scales to move", every, exclude)
    return [pair for pair in pairs if dropped.isdisjoint(layers[pair])]


def _layer(node: Any) -> Layer:
    names = [name for name in node.input[1:] if name]
    return Layer(node.name, node.op_type, frozenset({*names, *map(owner, names)}))


def _by_reason(left: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, why in left.items():
        found.setdefault(why, []).append(name)
    return found
