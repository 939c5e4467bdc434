"""Small edits of an ONNX graph that steps are made of. All are in place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from weighbridge.formats.onnx_weights import graphs


def name_nodes(model: Any) -> None:
    """Name each node that has no name after its first output. ONNX Runtime loads no graph with two of one name."""
    nodes = [node for graph in graphs(model) for node in graph.node]
    taken = {node.name for node in nodes}
    for node in nodes:
        if not node.name:
            node.name = free_name(f"{node.op_type}_{next(filter(None, node.output), '')}", taken)


def keep_names(model: Any, moved: Mapping[str, str]) -> dict[str, str]:
    """Give a weight's name to the one tensor that was made of it, so that reports and patterns find it.

    `moved` is the weight that each new tensor came from; what keeps its new name is returned.
    """
    children = Counter(moved.values())
    there = {tensor.name for tensor in model.graph.initializer} | used(model)
    rename = {name: root for name, root in moved.items() if children[root] == 1 and root not in there}
    for tensor in model.graph.initializer:
        tensor.name = rename.get(tensor.name, tensor.name)
    stale = {*rename, *rename.values()}  # torch tells the shapes of stored weights too
    remove(model.graph.value_info, lambda value: value.name in stale)
    for graph in graphs(model):
        reread(graph.node, rename)
    return {name: root for name, root in moved.items() if name not in rename}


def reread(nodes: Iterable[Any], instead: Mapping[str, str]) -> None:
    """Let nodes read other values: by the name of each that they read, what they read instead of it."""
    for node in nodes:
        node.input[:] = [instead.get(name, name) for name in node.input]


def drop_unused(model: Any) -> None:
    """Remove the initializers that nothing reads, of bodies too."""
    read = readers(model)
    for graph in (model.graph, *bodies(model)):
        remove(graph.initializer, lambda tensor: not read[tensor.name])


def used(model: Any) -> set[str]:
    """Every name that a node reads, in bodies of control flow too, which see the main graph's tensors."""
    return {name for graph in graphs(model) for node in graph.node for name in node.input} | {
        value.name for graph in bodies(model) for value in graph.output
    }


def readers(model: Any) -> Counter[str]:
    """How often each name is read: by nodes, those in bodies of control flow too, and as an output."""
    return Counter(
        name
        for graph in graphs(model)
        for name in (
            *(name for node in graph.node for name in node.input),
            *(getattr(value, "name", value) for value in graph.output),
        )
    )


def bodies(model: Any) -> Iterator[Any]:
    """The graphs of If, Loop and Scan."""
    _, *rest = graphs(model)
    yield from (graph for graph in rest if hasattr(graph, "initializer"))


def read_inside(model: Any) -> set[str]:
    """Every name that bodies of control flow read or give: some are tensors of the main graph."""
    return {name for body in bodies(model) for node in body.node for name in node.input} | {
        value.name for body in bodies(model) for value in body.output
    }


def names(model: Any) -> set[str]:
    """Every name of a value, in bodies and functions too: what a new one must not be called."""
    found: set[str] = set()
    for graph in graphs(model):
        stored = getattr(graph, "initializer", ())
        found.update(getattr(value, "name", value) for value in (*graph.input, *graph.output, *stored))
        found.update(name for node in graph.node for name in (*node.input, *node.output))
    return found


def free_name(name: str, taken: set[str]) -> str:
    """`name`, or the first of `name_2`, `name_3`, … that is not taken; it is taken from now on."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    taken.add(free)
    return free


def set_nodes(graph: Any, nodes: list[Any]) -> None:
    """Put copies of `nodes` in place of the graph's own: protobuf's are gone once they leave their list."""
    import onnx

    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def remove(field: Any, drop: Callable[[Any], bool]) -> None:
    """Remove the entries of a repeated field for which `drop` holds, without copying the others."""
    for index in reversed(range(len(field))):
        if drop(field[index]):
            del field[index]
