"""Whole channels taken out of an ONNX graph itself: neurons of a matrix, filters of a convolution, and what reads them.

Where a width cannot be followed it stays. The smaller graph is held against the original in which nobody reads what went.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.core.errors import StageError
from weighbridge.core.listed import few
from weighbridge.steps.onnx_answers import give_the_same
from weighbridge.steps.onnx_edits import drop_unused, free_name, name_nodes, names, readers
from weighbridge.steps.onnx_fold import constants_to_initializers, fold
from weighbridge.steps.prune.onnx_channels import follow
from weighbridge.steps.prune.onnx_groups import Group, Touch
from weighbridge.steps.prune.options import WidthOptions
from weighbridge.steps.prune.ranking import at_most
from weighbridge.steps.selection import Layer, select

if TYPE_CHECKING:
    from weighbridge.contracts import Array


class NeuronOptions(WidthOptions):
    rank: Literal["l2", "l1"] = Field("l2", description="What a channel is worth: the norm of its weights.")


def neurons(model: Model, options: NeuronOptions, context: Context) -> Model:
    """A copy with whole channels removed. What the outputs are made of, and what cannot be followed, keeps its width.

    Raises `StageError` where no layer becomes narrower, and where the smaller graph computes something else.
    """
    proto = _copy(model.value)
    constants_to_initializers(proto)
    fold(proto)
    name_nodes(proto)
    groups = follow(proto)
    chosen = _chosen(groups, options)
    removed = _ranked(proto, [group for group in groups if group in chosen], options)
    left = _left(groups, chosen, removed, options)
    if not removed:
        raise StageError("prune", f"no layer can do without channels: {'; '.join(left) or 'there is none'}")
    made = _without(proto, removed)
    _check(proto, made, removed, context)
    told = [f"{_label(group)} {group.width} → {group.width - len(gone)}" for group, gone in removed.items()]
    return Model("onnx", made, model.source, (*model.notes, f"channels removed: {few(told)}", *left))


Removed = Mapping[Group, "Array"]
"""The channels that go, by number."""


def _copy(proto: Any) -> Any:
    import onnx

    copied = onnx.ModelProto()
    copied.CopyFrom(proto)
    return copied


def _layers(group: Group) -> list[Layer]:
    """The layers that make these channels, as patterns see them: by their nodes, their weights, and whose these are."""
    return [
        Layer(node.name, node.op_type, frozenset({node.input[1], node.input[1].rpartition(".")[0]} - {""}))
        for node in group.makers()
    ]


def _label(group: Group) -> str:
    return " + ".join(node.input[1].rpartition(".")[0] or node.name for node in group.makers())


def _chosen(groups: Sequence[Group], options: NeuronOptions) -> set[Group]:
    """The groups of which every layer is chosen, so that a channel may go from all of them."""
    every = [layer for group in groups for layer in _layers(group)]
    if not every:
        raise StageError(
            "prune",
            "this step takes channels of Conv, ConvTranspose, Gemm and MatMul with stored weights; there is none",
        )
    left = set(select("prune", "no layer with weights", every, options.layers, options.exclude))
    return {group for group in groups if not group.kept and left.issuperset(_layers(group))}


def _ranked(proto: Any, groups: Sequence[Group], options: NeuronOptions) -> dict[Group, Array]:
    """The channels that are worth least; the widths that stay are multiples of `round_to`."""
    import numpy as np

    worth = {group: _worth(proto, group, options.rank) for group in groups}
    if options.scope == "global" and worth:
        joined = np.sort(np.concatenate(list(worth.values())), kind="stable")
        limit = joined[min(round(options.amount * joined.size), joined.size - 1)]
    removed = {}
    for group, values in worth.items():
        count = (
            int((values < limit).sum()) if options.scope == "global" else at_most(options.amount, group.width)
        )
        if not count:
            continue
        left = group.width - count
        left = max(left - left % options.round_to, options.round_to)
        if left < group.width:
            removed[group] = np.sort(np.argsort(values, kind="stable")[: group.width - left])
    return removed


def _worth(proto: Any, group: Group, rank: str) -> Array:
    """The norm of each channel's weights in all layers that make it, where 1 is the group's mean; [width]."""
    import numpy as np

    total: Any = np.zeros(group.width)
    for touch in group.touches:
        if touch.role == "makes":
            rows = (
                np.moveaxis(_stored(proto, touch), touch.axis, 0).reshape(group.width, -1).astype(np.float64)
            )
            total = total + (np.abs(rows).mean(1) if rank == "l1" else np.square(rows).mean(1))
    norms = total if rank == "l1" else np.sqrt(total)
    worth: Array = norms / max(norms.mean(), np.finfo(np.float64).tiny)
    return worth


def _left(groups: Sequence[Group], chosen: set[Group], removed: Removed, options: NeuronOptions) -> list[str]:
    """What keeps its width, and why; layers that were not to be touched are no news."""
    reasons: dict[str, list[str]] = {}
    for group in groups:
        narrow = (
            f"with `round_to: {options.round_to}` and `amount: {options.amount:g}` nothing is left to remove"
        )
        why = group.kept or ("" if group not in chosen or group in removed else narrow)
        if why:
            reasons.setdefault(why, []).append(_label(group))
    return [f"{', '.join(labels)} keeps its channels: {why}" for why, labels in reasons.items()]


def _without(proto: Any, removed: Removed) -> Any:
    """The graph without these channels."""
    import numpy as np
    import onnx

    made = _copy(proto)
    nodes = {node.name: node for node in made.graph.node}
    arrays: dict[tuple[str, int], Array] = {}
    for group, gone in removed.items():
        for touch in group.touches:
            place = (touch.node.name, touch.position)
            arrays[place] = np.delete(
                arrays.get(place, _stored(proto, touch)), _places(gone, touch), touch.axis
            )
        for touch in group.shapes:
            place = (touch.node.name, touch.position)
            shape = arrays.get(place, _stored(proto, touch)).copy()
            shape[touch.axis] -= len(gone) * touch.repeat
            arrays[place] = shape
        for node in group.depthwise:
            next(each for each in nodes[node.name].attribute if each.name == "group").i -= len(gone)
    taken = names(made)
    read = readers(made)
    stored = {tensor.name: tensor for tensor in made.graph.initializer}
    for (name, position), array in arrays.items():
        old = nodes[name].input[position]
        if read[old] == 1:
            stored[old].CopyFrom(onnx.numpy_helper.from_array(array, old))
            continue
        own = free_name(f"{old}_{name}", taken)  # others read it as it was, or without other channels
        made.graph.initializer.append(onnx.numpy_helper.from_array(array, own))
        nodes[name].input[position] = own
    drop_unused(made)
    del made.graph.value_info[:]  # of the widths before
    return made


def _unread(proto: Any, removed: Removed) -> Any:
    """The graph as it was, in which nobody reads these channels."""
    import onnx

    made = _copy(proto)
    stored = {tensor.name: tensor for tensor in made.graph.initializer}
    for group, gone in removed.items():
        for touch in group.touches:
            if touch.role == "reads":
                tensor = stored[touch.node.input[touch.position]]
                array = onnx.numpy_helper.to_array(tensor).copy()
                array[(slice(None),) * touch.axis + (_places(gone, touch),)] = 0
                tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return made


def _check(proto: Any, made: Any, removed: Removed, context: Context) -> None:
    """Raise `StageError` naming the layer whose channels were cut otherwise than the graph reads them."""
    if give_the_same(_unread(proto, removed), made, context):
        return
    for group, gone in removed.items():
        alone = {group: gone}
        if not give_the_same(_unread(proto, alone), _without(proto, alone), context):
            raise StageError(
                "prune",
                f"without channels of {_label(group)} the graph computes something else than the original in which nobody "
                "reads them; leave the layer to `exclude`",
            )
    raise StageError(
        "prune", "the smaller graph computes something else than the original without these channels"
    )


def _stored(proto: Any, touch: Touch) -> Array:
    import onnx

    name = touch.node.input[touch.position]
    tensor = next(each for each in proto.graph.initializer if each.name == name)
    array: Array = onnx.numpy_helper.to_array(tensor)
    return array


def _places(gone: Array, touch: Touch) -> Array:
    """Where the channels stand along the axis of a stored input."""
    import numpy as np

    places: Array = (gone[:, None] * touch.repeat + np.arange(touch.repeat)).reshape(-1)
    return places


STEPS.add(
    "prune:neurons",
    Step("prune", "neurons", ("onnx",), NeuronOptions, neurons, must="sparsify", random=False),
)
