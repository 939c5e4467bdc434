"""pydantic's findings as faults: at the user's own path, in YAML's words, one a place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from weighbridge.case.text import KeyPath
from weighbridge.core.errors import close_match, did_you_mean

Faulter = Callable[..., None]

_WORDS = (
    ("Value error, ", ""),
    ("Input should be", "should be"),
    ("a valid dictionary", "a mapping"),
    ("a valid list", "a list"),
    ("a valid string", "text"),
    ("a valid integer", "a whole number"),
    ("a valid number", "a number"),
    ("a valid boolean", "true or false"),
    ("List should have at least 1 item after validation, not 0", "should not be empty"),
)


def check(schema: type[BaseModel], data: Any, where: KeyPath, fault: Faulter) -> Any:
    """`data` as `schema`, or None with every fault recorded under `where`."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        found = [(*_own_path(problem, data), problem) for problem in error.errors(include_url=False)]
    unknown = [str(path[-1]) for path, _, problem in found if problem["type"] == "extra_forbidden"]
    meant = {close_match(name, schema.model_fields) for name in unknown}
    said: dict[KeyPath, list[str]] = {}
    for path, branch, problem in found:
        kind, last = problem["type"], str(path[-1]) if path else ""
        if kind == "extra_forbidden":
            known = schema.model_fields if len(path) == 1 else []
            fault((*where, *path), f"unknown key '{last}'{did_you_mean(last, known)}", key=True)
        elif kind == "missing":
            if last not in meant:  # said already, as "did you mean"
                fault((*where, *path[:-1]), f"the key '{last}' is missing")
        elif not (
            branch and any(len(other) > len(path) and other[: len(path)] == path for other, _, _ in found)
        ):
            said.setdefault(path, []).append(_plain(problem["msg"]))
    for path, messages in said.items():
        first, *rest = dict.fromkeys(messages)
        what = " or ".join([first, *(message.removeprefix("should be ") for message in rest)])
        fault(
            (*where, *path), f"{'.'.join(map(str, (*where, *path))) or 'value'}: {what}{_given(data, path)}"
        )
    return None


def _own_path(problem: Mapping[str, Any], data: Any) -> tuple[KeyPath, bool]:
    """Where `problem` stands in `data`, without the branches of unions that pydantic names, and whether there were any."""
    path: list[str | int] = []
    branch = False
    for index, part in enumerate(problem["loc"]):
        missing = problem["type"] == "missing" and index == len(problem["loc"]) - 1
        if (isinstance(data, dict) and part in data) or (isinstance(data, list) and isinstance(part, int)):
            path.append(part)
            data = data[part]
        elif missing:
            path.append(part)
        else:
            branch = True
    return tuple(path), branch


def _given(data: Any, path: KeyPath) -> str:
    for part in path:
        data = data[part]
    return "" if isinstance(data, dict | list) else f", not {'nothing' if data is None else repr(data)[:60]}"


def _plain(message: str) -> str:
    for theirs, ours in _WORDS:
        message = message.replace(theirs, ours)
    return message
