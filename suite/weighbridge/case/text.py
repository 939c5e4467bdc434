"""YAML text -> plain data and the place of every value, with YAML 1.2's meanings.

PyYAML's own construction reads `1e-3` as a string, `no` as False, and lets the last duplicate key win, so only
its parser is used and the nodes are built here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import yaml

from weighbridge.core.errors import CaseError, Fault, first_line
from weighbridge.core.files import read_regular

KeyPath: TypeAlias = tuple[str | int, ...]
Mark: TypeAlias = tuple[int, int]

MAX_NODES = 50_000  # aliases can multiply: a "billion laughs" file expands to more than memory
MAX_BYTES = 4 << 20
MAX_DEPTH = 50  # libyaml builds nodes by recursion, and a thousand levels take its stack
MAX_DIGITS = 40  # Python cannot print an integer of thousands of digits, however it was written


_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, ten times faster, where PyYAML has it


class _Loader(_Base):  # type: ignore[misc]
    """PyYAML's parser with the implicit types of the YAML 1.2 core schema."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+0123456789."),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


_CORE = "tag:yaml.org,2002:"
_TAGS: dict[type[yaml.Node], tuple[str, ...]] = {
    yaml.MappingNode: ("map",),
    yaml.SequenceNode: ("seq",),
    yaml.ScalarNode: ("str", "null", "bool", "int", "float"),
}


@dataclass
class Document:
    """The data of one file; `marks` gives line and column of each value, `ends` of what follows it, `keys` of each mapping's
    key."""

    path: Path
    data: Any = None
    marks: dict[KeyPath, Mark] = field(default_factory=dict)
    ends: dict[KeyPath, Mark] = field(default_factory=dict)
    keys: dict[KeyPath, Mark] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unreadable: set[KeyPath] = field(default_factory=set)
    """The values whose fault is said already: what they lack as a case's values is no second one."""

    def fault(self, where: KeyPath, message: str, *, key: bool = False) -> None:
        """Record a fault at a value, at its key when `key` is true, or at the nearest parent that stands in the file."""
        if where in self.unreadable:
            return
        place = where
        while place and place not in self.marks:
            place = place[:-1]
        line, column = (self.keys if key else self.marks).get(place) or self.marks.get(place, (1, 1))
        fault = Fault(line, column, message)
        if fault not in self.faults:
            self.faults.append(fault)

    def error(self) -> CaseError:
        """Every fault, in the order of the file."""
        return CaseError(
            self.path, sorted(self.faults, key=lambda fault: (fault.line, fault.column, fault.message))
        )


def read(path: Path) -> Document:
    """The document in `path`; raises `CaseError` where it cannot be read at all.

    Faults that leave the rest readable (a duplicate key, a merge key) are collected in `Document.faults`.
    """
    try:
        raw = read_regular(path, MAX_BYTES)
    except OSError as error:
        raise CaseError(path, [Fault(1, 1, f"cannot be read: {error.strerror}")]) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        raise CaseError(
            path, [Fault(line, column, f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8")]
        ) from None
    document = Document(path)
    try:
        _check_depth(text, path)
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        rest = text.splitlines()[place[0] - 1 : place[0]]
        if rest and rest[0][place[1] - 1 :].startswith("\t"):
            what = "a tab stands where YAML wants spaces"
        raise CaseError(path, [Fault(*place, f"not YAML: {what}")]) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise CaseError(path, [Fault(1, 1, f"not YAML: {first_line(error)}")]) from None
    if node is None:
        raise CaseError(
            path, [Fault(1, 1, "the file is empty; a case needs at least `model` and `thresholds`")]
        )
    try:
        document.data = _Builder(document).build(node, ())
    except RecursionError:
        raise CaseError(path, [Fault(1, 1, "nested too deeply, or an alias that contains itself")]) from None
    return document


def _check_depth(text: str, path: Path) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                mark: Any = event.start_mark
                place = (mark.line + 1, mark.column + 1)
                raise CaseError(path, [Fault(*place, f"nested more than {MAX_DEPTH} levels deep")])
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Builder:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.nodes = 0

    def build(self, node: yaml.Node, where: KeyPath) -> Any:
        self.nodes += 1
        mark = (node.start_mark.line + 1, node.start_mark.column + 1)
        if self.nodes > MAX_NODES:
            raise CaseError(
                self.document.path, [Fault(*mark, f"aliases expand to more than {MAX_NODES} values")]
            )
        self.document.marks[where] = mark
        self.document.ends[where] = (node.end_mark.line + 1, node.end_mark.column + 1)
        kind = node.tag.removeprefix(_CORE)
        if kind not in _TAGS[type(node)]:
            self._unreadable(where, f"the tag {node.tag.replace(_CORE, '!!')} is not supported")
        elif isinstance(node, yaml.MappingNode):
            return self._mapping(node, where)
        elif isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*where, index)) for index, child in enumerate(node.value)]
        else:
            return self._scalar(kind, node.value, where)
        return None

    def _mapping(self, node: yaml.MappingNode, where: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                self.document.faults.append(Fault(*place, "a key must be plain text"))
            elif key == "<<":
                self.document.faults.append(
                    Fault(*place, "merge keys (`<<`) are not supported; write the keys out, or use `cases:`")
                )
            elif key in mapping:
                first = self.document.keys[(*where, key)]
                self.document.faults.append(
                    Fault(*place, f"key '{key}' stands twice (first on line {first[0]})")
                )
            else:
                self.document.keys[(*where, key)] = place
                mapping[key] = self.build(value_node, (*where, key))
        return mapping

    def _scalar(self, kind: str, text: str, where: KeyPath) -> Any:
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        try:
            if kind == "int" and len(text) <= MAX_DIGITS:
                return int(text, 0) if text[:2].lower() in ("0o", "0x") else int(text)
            if kind == "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:  # an explicit tag on a text that does not fit it
            pass
        self._unreadable(where, f"'{text[:40]}' cannot be read as !!{kind}")
        return None

    def _unreadable(self, where: KeyPath, message: str) -> None:
        self.document.fault(where, message)
        self.document.unreadable.add(where)
