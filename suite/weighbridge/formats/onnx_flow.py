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
    """A graph, or one call of a function, with the graph around it."""

    index: int
    graph: Any
    around: Scope | None
    place: tuple[Any, ...]
    """Where in the file it stands: the calls of one function share it."""
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
        self.origin: dict[Key, Key] = {}
        """What a function's argument, or the state that a body begins with, is called where it comes from."""
        self._same: dict[Key, list[Key]] = defaultdict(list)  # the reverse, and results on their way out
        self._stored: dict[tuple[Any, ...], Key] = {}
        self._again: dict[Key, Key] = {}  # a function's constants in its second call -> in its first
        self._count = 0
        self._functions = {(each.domain, each.name, each.overload): each for each in model.functions}
        self._called: set[tuple[str, str, str]] = set()
        self._inside: list[tuple[str, str, str]] = []
        self._visit(self._open(model.graph, None, ()))
        for name in self._functions.keys() - self._called:  # what nobody calls is stored all the same
            self._visit(self._open(self._functions[name], None, name))

    def key(self, name: str, scope: Scope) -> Key:
        """The value that `name` means in `scope`."""
        inner: Scope | None = scope
        while inner is not None and name not in inner.names:
            inner = inner.around
        found = (scope.index if inner is None else inner.index, name)
        return self._again.get(found, found)

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

    def _open(self, graph: Any, around: Scope | None, place: tuple[Any, ...]) -> Scope:
        scope = Scope(self._count, graph, around, place)
        self._count += 1
        scope.names.update(_formal(value) for value in graph.input)
        scope.names.update(name for node in graph.node for name in node.output)
        for constant in initializers(graph):
            scope.names.add(constant.name)
            self._store(constant, scope)
        return scope

    def _store(self, constant: Constant, scope: Scope, node: int = -1) -> None:
        key, where = (scope.index, constant.name), (*scope.place, node, constant.name)
        if where in self._stored:
            self._again[key] = self._stored[where]
            return
        while key in self.constants:  # attributes of nodes without names
            key = (scope.index, f"{key[1]}'")
        self._stored[where] = key
        self.constants[key] = constant
        self.derived.add(key)

    def _visit(self, scope: Scope) -> None:
        for number, node in enumerate(scope.graph.node):
            taken = self.inputs(node, scope)
            for position, value in enumerate(taken):
                if value is not None:
                    self.readers[value].append(Reader(node, position, scope))
            for constant in in_attributes(node):
                self._store(constant, scope, number)
            bodies = [
                self._open(attribute.g, scope, (*scope.place, number, attribute.name))
                for attribute in node.attribute
                if attribute.HasField("g")
            ]
            made = [(scope.index, name) for name in node.output]
            if node.op_type != "Constant":
                self.makers.update(dict.fromkeys(made, (node, scope)))
            if (
                node.op_type not in _RANDOM
                and not bodies
                and all(key is None or key in self.derived for key in taken)
            ):
                self.derived.update(made)
            for body in bodies:
                self._bind(node, taken, made, body)
                self._visit(body)
            self._call(node, taken, made)

    def _call(self, node: Any, taken: list[Key | None], made: list[Key]) -> None:
        """A function that the file itself defines: its arguments in this call are these values."""
        name = (node.domain, node.op_type, node.overload)
        if name not in self._functions or name in self._inside:  # no function may call itself
            return
        self._called.add(name)
        inside = self._open(self._functions[name], None, name)
        formal = [(inside.index, argument) for argument in inside.graph.input]
        self._connect(taken, formal)
        self.derived.update(key for key, value in zip(formal, taken, strict=False) if value in self.derived)
        self._inside.append(name)
        self._visit(inside)
        self._inside.pop()
        self._connect([self.key(result, inside) for result in inside.graph.output], made)

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
                self.origin[target] = source


def _formal(value: Any) -> str:
    """A graph's inputs are described, a function's only named."""
    return value if isinstance(value, str) else str(value.name)
