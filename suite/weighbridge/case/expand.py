"""`cases:` and `matrix:`: one file, many cases, in the manner that CI users know."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge.case.text import Document, KeyPath
from weighbridge.core.errors import did_you_mean

_EXPRESSION = re.compile(r"\$\{\{([^{}]*)\}\}")  # without a choice to go back to: linear in any text
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
        document.fault((), f"a case file is a mapping, this is {_kind(data)}")
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
            faults, locate = len(document.faults), _locator(document, where)
            filled = _fill(document, raw, variables, (), locate)
            if len(document.faults) > faults:
                continue  # what an unknown expression leaves behind would only be a second fault
            values = ",".join(_label(value) for value in variables.values())
            if "${{" in name:
                expanded.append(RawCase(filled, str(filled["name"]), locate))
            else:
                expanded.append(RawCase(filled, f"{name}-{values}" if values else name, locate))
    count = Counter(case.name for case in expanded)
    for case in expanded:
        if count[case.name] > 1 and names.count(case.name) < 2:
            place = case.locate(("matrix",)) if case.locate(("matrix",)) in document.marks else ("matrix",)
            document.fault(
                place, f"{count[case.name]} combinations are called '{case.name}'; make their values differ"
            )
    if len(expanded) > MAX_CASES:
        document.fault(
            ("matrix",), f"the file expands to {len(expanded)} cases; at most {MAX_CASES} are allowed"
        )
        return expanded[:MAX_CASES]
    return expanded


def _combinations(document: Document, matrix: Any, where: KeyPath) -> list[dict[str, Any]]:
    """The product of the axes, less `exclude`, plus `include`, each a combination of its own."""
    if matrix is None:
        return [{}]
    if not isinstance(matrix, dict) or not matrix:
        document.fault(where, "`matrix` is a mapping of a name to a list of values")
        return []
    faults = len(document.faults)
    axes = {name: values for name, values in matrix.items() if name not in ("include", "exclude")}
    for name, values in axes.items():
        if not isinstance(values, list) or not values:
            document.fault((*where, name), f"matrix.{name} is a list of values, this is {_kind(values)}")
    include, exclude = (_rows(document, matrix.get(name), (*where, name)) for name in ("include", "exclude"))
    for index, row in enumerate(exclude):
        for name in row:
            if name not in axes:
                document.fault(
                    (*where, "exclude", index, name),
                    f"matrix has no axis '{name}'{did_you_mean(name, axes)}",
                    key=True,
                )
            elif isinstance(axes[name], list) and row[name] not in axes[name]:
                document.fault(
                    (*where, "exclude", index, name),
                    f"matrix.{name} is never {_label(row[name])}, so this excludes nothing"
                    f"{did_you_mean(str(row[name]), map(str, axes[name]))}",
                )
    for index, row in enumerate(include):
        if absent := [name for name in axes if name not in row]:
            document.fault(
                (*where, "include", index),
                f"each of matrix.include is a combination of its own, and this one lacks {', '.join(absent)}",
            )
    if len(document.faults) > faults:
        return []
    size = math.prod(len(values) for values in axes.values())
    if size > MAX_CASES:
        document.fault(where, f"the matrix expands to {size} cases; at most {MAX_CASES} are allowed")
        return []
    product = (
        [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    )
    kept = [row for row in product if not any(entry.items() <= row.items() for entry in exclude if entry)]
    if not kept and not include:
        document.fault(where, "`exclude` leaves no combination, so nothing would run")
    return kept + [{name: row[name] for name in (*axes, *row)} for row in include]


def _rows(document: Document, rows: Any, where: KeyPath) -> list[dict[str, Any]]:
    """`include` or `exclude`: a list of mappings from an axis to its value."""
    if rows is not None and not isinstance(rows, list):
        document.fault(where, f"matrix.{where[-1]} is a list of mappings, this is {_kind(rows)}")
        return []
    for index, row in enumerate(rows or []):
        if not isinstance(row, dict):
            document.fault((*where, index), f"each of matrix.{where[-1]} is a mapping of axes to values")
    return [row for row in rows or [] if isinstance(row, dict)]


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
        if expression.startswith("matrix.") and name in variables:
            return variables[name]
        known = [f"matrix.{key}" for key in variables]
        hint = did_you_mean(expression, known) if known else "; there is no `matrix`"
        document.fault(locate(where), f"unknown expression '{expression}'{hint}")
        return ""

    if "${{" in _EXPRESSION.sub("", value):
        document.fault(locate(where), "`${{` is never closed; write ${{ matrix.name }}")
        return value
    whole = _EXPRESSION.fullmatch(value.strip())
    return (
        look_up(whole.group(1).strip())
        if whole
        else _EXPRESSION.sub(lambda match: str(look_up(match.group(1).strip())), value)
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
    shown = "".join(character if character.isprintable() else "-" for character in text[:1000])
    return re.sub(r"[\s:/\\\[\]]+", "-", shown)[:40]


def _kind(value: Any) -> str:
    if value in ([], {}):
        return "empty"
    kinds = {dict: "a mapping", list: "a list", str: "text", type(None): "nothing", bool: "true or false"}
    return kinds.get(type(value), "a number")
