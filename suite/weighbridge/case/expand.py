"""`cases:` and `matrix:`: one file, many cases, in the manner that CI users know."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge.case.text import Document, KeyPath
from weighbridge.errors import did_you_mean

_EXPRESSION = re.compile(r"\$\{\{\s*([^}]*?)\s*\}\}")
MAX_CASES = 1000


@dataclass(frozen=True)
class RawCase:
    """One case before validation; `locate` turns its key paths into the document's."""

    data: dict[str, Any]
    name: str
    locate: Callable[[KeyPath], KeyPath]


def expand(document: Document) -> list[RawCase]:
    """Every case of the document. Faults go to `document.faults`."""
    data = document.data
    if not isinstance(data, dict):
        document.fault((), f"a case file is a mapping, this is a {_kind(data)}")
        return []
    shared = {key: value for key, value in data.items() if key not in ("cases", "matrix")}
    stem = document.path.stem
    listed: list[tuple[dict[str, Any], str, KeyPath]] = []
    if "cases" not in data:
        listed.append((shared, str(shared.get("name", stem)), ()))
    elif not isinstance(data["cases"], list) or not data["cases"]:
        document.fault(("cases",), "`cases` is a list of mappings, each with a `name`")
    else:
        for index, own in enumerate(data["cases"]):
            where: KeyPath = ("cases", index)
            if not isinstance(own, dict) or not isinstance(own.get("name"), str):
                document.fault(where, "each of `cases` is a mapping with a `name`")
            elif "cases" in own:
                document.fault((*where, "cases"), "`cases` cannot stand inside `cases`", key=True)
            else:
                listed.append(({**shared, **own}, own["name"], where))
    names = [name for _, name, _ in listed]
    for _, name, where in listed:
        if names.count(name) > 1:
            document.fault((*where, "name"), f"the name '{name}' stands twice in this file")
    expanded: list[RawCase] = []
    for raw, name, where in listed:
        matrix = raw.pop("matrix") if "matrix" in raw else data.get("matrix")
        place = (*where, "matrix") if (*where, "matrix") in document.marks else ("matrix",)
        for variables in _combinations(document, matrix, place):
            locate = _locator(document, where)
            values = ",".join(_label(value) for value in variables.values())
            expanded.append(
                RawCase(
                    _fill(document, raw, variables, (), locate),
                    f"{name}[{values}]" if values else name,
                    locate,
                )
            )
    if len(expanded) > MAX_CASES:
        document.fault(
            ("matrix",), f"the file expands to {len(expanded)} cases; at most {MAX_CASES} are allowed"
        )
        return expanded[:MAX_CASES]
    return expanded


def _combinations(document: Document, matrix: Any, where: KeyPath) -> list[dict[str, Any]]:
    """The product of the axes, less `exclude`, plus `include`."""
    if matrix is None:
        return [{}]
    if not isinstance(matrix, dict) or not matrix:
        document.fault(where, "`matrix` is a mapping of a name to a list of values")
        return []
    axes = {name: values for name, values in matrix.items() if name not in ("include", "exclude")}
    for name, values in axes.items():
        if not isinstance(values, list) or not values:
            document.fault((*where, name), f"matrix.{name} is a list of values, this is a {_kind(values)}")
            return []
    for extra in ("include", "exclude"):
        for index, entry in enumerate(matrix.get(extra) or []):
            if not isinstance(entry, dict):
                document.fault(
                    (*where, extra, index), f"each of matrix.{extra} is a mapping of axes to values"
                )
                return []
            if extra == "exclude" and (unknown := [name for name in entry if name not in axes]):
                document.fault(
                    (*where, extra, index, unknown[0]),
                    f"matrix has no axis '{unknown[0]}'{did_you_mean(unknown[0], axes)}",
                    key=True,
                )
    sizes = 1
    for values in axes.values():
        sizes *= len(values)
    if sizes > MAX_CASES:
        document.fault(where, f"the matrix expands to {sizes} cases; at most {MAX_CASES} are allowed")
        return []
    combinations = (
        [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    )
    excluded = matrix.get("exclude") or []
    kept = [
        row
        for row in combinations
        if not any(all(row[name] == value for name, value in entry.items()) for entry in excluded)
    ]
    return kept + list(matrix.get("include") or [])


def _fill(
    document: Document,
    value: Any,
    variables: Mapping[str, Any],
    where: KeyPath,
    locate: Callable[[KeyPath], KeyPath],
) -> Any:
    """`value` with `${{ matrix.x }}` replaced: by the value itself where it stands alone, else by its text."""
    if isinstance(value, dict):
        return {key: _fill(document, item, variables, (*where, key), locate) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(document, item, variables, (*where, index), locate) for index, item in enumerate(value)]
    if not isinstance(value, str) or "${{" not in value:
        return value

    def look_up(expression: str) -> Any:
        name = expression.removeprefix("matrix.")
        if not expression.startswith("matrix.") or name not in variables:
            document.fault(
                locate(where),
                f"unknown expression '{expression}'{did_you_mean(expression, [f'matrix.{key}' for key in variables])}",
            )
            return ""
        return variables[name]

    whole = _EXPRESSION.fullmatch(value.strip())
    return (
        look_up(whole.group(1))
        if whole
        else _EXPRESSION.sub(lambda match: str(look_up(match.group(1))), value)
    )


def _locator(document: Document, where: KeyPath) -> Callable[[KeyPath], KeyPath]:
    def locate(path: KeyPath) -> KeyPath:
        own = (*where, *path)
        if path and (*where, path[0]) in document.marks:
            return own
        return path if path and path[:1] in document.marks else where

    return locate


def _label(value: Any) -> str:
    text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return re.sub(r"[\s:/\\\[\]]+", "-", text)[:40]


def _kind(value: Any) -> str:
    return {dict: "mapping", list: "list", str: "text", type(None): "nothing", bool: "boolean"}.get(
        type(value), "number"
    )
