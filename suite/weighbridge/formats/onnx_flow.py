"""Which operators read a value of an ONNX model, through the bodies of control flow and through functions.

A name means what its scope says: a body sees the names of the graphs around it, a function only its own. A value has as
key the number of the scope that defines it, and its name there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from weighbridge.formats.onnx_constants import Constant, in_attributes, initializers

Key = tuple[int, str]
Path = tuple["Reader", ...]
"""The operators through which a value has come, in order."""

_RANDOM = (
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
)


@dataclass
class Scope:
    """A graph or a function, with the graph around it."""

    index: int
    graph: Any
    around: Scope | None
    names: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Reader:
    """`node` in `scope` takes the value as its input at `position`."""

    node: Any
    position: int
    scope: Scope


class Flow:
    """A model's constants, and for each value who makes it and who reads it."""

    def __init__(self, model: Any) -> None:
        self.constants: dict[Key, Constant] = {}
        self.readers: dict[Key, list[Reader]] = defaultdict(list)
        self.makers: dict[Key, tuple[Any, Scope]] = {}
        self.derived: set[Key] = set()
        """Values that depend on no input of the model: constants, and what is calculated from them alone."""
        self._same: dict[Key, list[Key]] = defaultdict(
            list
        )  # what goes in under one name and stands in a body under another
        self._count = 0
        main, *functions = (self._open(graph, None) for graph in (model.graph, *model.functions))
        self._functions = {
            (scope.graph.domain, scope.graph.name, scope.graph.overload): scope for scope in functions
        }
        for scope in (*functions, main):
            self._visit(scope)

    def key(self, name: str, scope: Scope) -> Key:
        """The value that `name` means in `scope`."""
        inner: Scope | None = scope
        while inner is not None and name not in inner.names:
            inner = inner.around
        return (scope.index if inner is None else inner.index, name)

    def inputs(self, node: Any, scope: Scope) -> list[Key | None]:
        """None where an optional input is left out."""
        return [self.key(name, scope) if name else None for name in node.input]

    def follow(self, key: Key, carries: Callable[[Reader, Path], bool]) -> Iterator[tuple[Reader, Path]]:
        """Every reader of the value and of what comes of it, with the operators in between: those that `carries` accepts."""
        pending: list[tuple[Key, Path]] = [(key, ())]
        seen = {key}
        while pending:
            value, path = pending.pop()
            onward = [(other, path) for other in self._same.get(value, ())]
            for reader in self.readers.get(value, ()):
                yield reader, path
                if carries(reader, path):
                    onward += [
                        ((reader.scope.index, name), (*path, reader)) for name in reader.node.output if name
                    ]
            for target in onward:
                if target[0] not in seen:
                    seen.add(target[0])
                    pending.append(target)

    def _open(self, graph: Any, around: Scope | None) -> Scope:
        scope = Scope(self._count, graph, around)
        self._count += 1
        for constant in initializers(graph):
            self.constants[scope.index, constant.name] = constant
            scope.names.add(constant.name)
        scope.names.update(_formal(value) for value in graph.input)
        scope.names.update(name for node in graph.node for name in node.output)
        return scope

    def _visit(self, scope: Scope) -> None:
        for constant in initializers(scope.graph):
            self.derived.add((scope.index, constant.name))
        for node in scope.graph.node:
            taken = self.inputs(node, scope)
            for position, input_ in enumerate(taken):
                if input_ is not None:
                    self.readers[input_].append(Reader(node, position, scope))
            for constant in in_attributes(node):
                key = (scope.index, constant.name)
                while key in self.constants:  # attributes of nodes without names
                    key = (scope.index, f"{key[1]}'")
                self.constants[key] = constant
            bodies = [
                self._open(attribute.g, scope) for attribute in node.attribute if attribute.HasField("g")
            ]
            made = [(scope.index, name) for name in node.output]
            self.makers.update(dict.fromkeys(made, (node, scope)))
            if (
                node.op_type not in _RANDOM
                and not bodies
                and all(key is None or key in self.derived for key in taken)
            ):
                self.derived.update(made)
            for body in bodies:
                self._visit(body)
                self._bind(node, taken, made, body)
            function = self._functions.get((node.domain, node.op_type, node.overload))
            if function is not None:
                self._connect(taken, [(function.index, name) for name in function.graph.input])
                self._connect([(function.index, name) for name in function.graph.output], made)

    def _bind(self, node: Any, taken: list[Key | None], made: list[Key], body: Scope) -> None:
        """How the inputs and outputs of If, Loop, Scan and SequenceMap correspond with those of their bodies."""
        formal: list[Key | None] = [(body.index, value.name) for value in body.graph.input]
        results: list[Key | None] = [self.key(value.name, body) for value in body.graph.output]
        if (
            node.op_type == "Loop"
        ):  # its first input is a number of turns, the body's the turn; both have a condition
            self._connect(taken[2:], formal[2:])
            self._connect(results[1:], made)
            return
        if node.op_type != "If":
            self._connect(taken, formal)
        self._connect(results, made)

    def _connect(self, sources: list[Any], targets: list[Any]) -> None:
        for source, target in zip(
            sources, targets, strict=False
        ):  # trailing inputs and outputs may be left out
            if source is not None and target is not None:
                self._same[source].append(target)


def _formal(value: Any) -> str:
    """A graph's inputs are described, a function's only named."""
    return value if isinstance(value, str) else str(value.name)
