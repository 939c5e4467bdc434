"""The options of a step, a threshold or an engine, with their values and defaults, from their own schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.contracts import ENGINES, STEPS, THRESHOLDS, Options
from weighbridge.core.errors import UsageError, did_you_mean

_KINDS = {
    "integer": "whole number",
    "boolean": "true, false",
    "string": "text",
    "array": "list",
    "object": "mapping",
}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def options_of(name: str, style: str = "simple") -> str:
    """A table for everything that is called `name`; raises `UsageError` where nothing is."""
    found = list(_named(name))
    if not found:
        known = [*(step.key.partition("@")[0] for step in STEPS), *THRESHOLDS.names(), *ENGINES.names()]
        raise UsageError(
            f"unknown step, threshold or engine '{name}'{did_you_mean(_likely(name), set(known))}"
        )
    return "\n".join(f"{title}\n{_table(options, style)}\n" for title, options in found)


def _named(name: str) -> Iterator[tuple[str, type[Options]]]:
    for step in STEPS:
        if name in (step.key, step.key.partition("@")[0], step.method, step.kind):
            engine = f", engine: {step.engine}" if step.engine else ""
            yield f"{step.kind}: {step.method}{engine} (takes {', '.join(step.accepts)})", step.options
    if name in THRESHOLDS:
        yield f"{name}: {THRESHOLDS.get(name).doc}", THRESHOLDS.get(name).options
    if name in ENGINES:
        yield f"engine: {name} (runs {', '.join(ENGINES.get(name).formats)})", ENGINES.get(name).options


def _likely(name: str) -> str:
    """`name` with the kind of a step before it, where its method alone is nearly right: `statc` is `quantize:static`."""
    from weighbridge.core.errors import close_match

    methods = {step.method: step.key.partition("@")[0] for step in STEPS}
    close = close_match(name, methods)
    return methods[close] if close else name


def _table(options: type[Options], style: str) -> str:
    from tabulate import tabulate

    schema = options.model_json_schema()
    needed = schema.get("required", ())
    rows = [
        [
            key,
            _values(one, schema.get("$defs", {})),
            "needed" if key in needed else _shown(one.get("default", _factory(options, key))),
            one.get("description", ""),
        ]
        for key, one in schema.get("properties", {}).items()
    ]
    if not rows:
        return "no options"
    heads = ["option", "values", "default", ""]
    widths = [None, 34, None, 60] if style == "simple" else None
    return tabulate(rows, heads, tablefmt=style, disable_numparse=True, maxcolwidths=widths)


def _factory(options: type[Options], key: str) -> Any:
    """A default that is made anew each time, which no schema states."""
    return options.model_fields[key].get_default(call_default_factory=True, validated_data={})


def _shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _values(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    """What is valid, in words: `int8, uint8`; `number > 0, < 1`; `list of text`."""
    if "$ref" in schema:
        return _values(defs[schema["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in schema:
        parts = [_values(one, defs) for one in schema["anyOf"] if one.get("type") != "null"]
        return ", or ".join(dict.fromkeys(parts))
    if "const" in schema:
        return _shown(schema["const"])
    if "enum" in schema:
        return ", ".join(map(_shown, schema["enum"]))
    kind = str(schema.get("type", "anything"))
    bounds = [f"{sign} {schema[key]:g}" for key, sign in _BOUNDS.items() if key in schema]
    items = f" of {_values(schema['items'], defs)}" if kind == "array" and schema.get("items") else ""
    return f"{_KINDS.get(kind, kind)}{items} {', '.join(bounds)}".strip()
