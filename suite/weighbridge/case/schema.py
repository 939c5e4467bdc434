"""The JSON Schema of a case file, from the registries: completion and checks in an editor."""

from __future__ import annotations

from typing import Any

from weighbridge.case.model import CaseSpec, RequirementSpec
from weighbridge.case.steps import kinds, methods
from weighbridge.contracts import ENGINES, FORMATS, THRESHOLDS, Options, Step

_EXPRESSION = {"type": "string", "pattern": r"\$\{\{.*\}\}"}


def case_schema() -> dict[str, Any]:
    """Draft 2020-12. It accepts `${{ matrix.x }}` wherever a value can stand."""
    spec = _inline(CaseSpec)
    properties: dict[str, Any] = spec["properties"]
    model = {
        "type": "object",
        "additionalProperties": False,
        "oneOf": [{"required": [name]} for name in FORMATS.names()],
        "properties": {name: {"type": "string", "minLength": 1} for name in (*FORMATS.names(), "weights")},
    }
    engines = [
        {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"const": engine.name},
                **{
                    name: _or_expression(value)
                    for name, value in _inline(engine.options)["properties"].items()
                },
            },
        }
        for engine in ENGINES
    ]
    properties.update(
        model={**model, "description": properties["model"].get("description", "")},
        candidate={**model, "description": properties["candidate"].get("description", "")},
        engine={
            "anyOf": [
                {"enum": ENGINES.names()},
                {"type": "object", "not": {"required": ["name"]}},
                *engines,
            ]
        },
        metric={
            "description": properties["metric"].get("description", ""),
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "required": ["torchmetrics"],
                    "properties": {
                        "torchmetrics": {"type": "string"},
                        "higher_is_better": {"type": "boolean"},
                        "prepare": {"type": "string"},
                        "value": {"type": "string"},
                    },
                },
            ],
        },
        requires={
            "type": "array",
            "description": properties["requires"].get("description", ""),
            "items": {**_inline(RequirementSpec), "minProperties": 1},
        },
        recipe={
            "type": "array",
            "items": {"anyOf": [_step(kind, step) for kind in kinds() for step in methods(kind)]},
        },
        thresholds={
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {item.name: _limit(item.options, item.doc) for item in THRESHOLDS},
        },
    )
    properties["target"] = {
        **_inline(THRESHOLDS.get("target").options),
        "description": properties["target"].get("description", ""),
    }
    definitions = {name: _or_expression(schema) for name, schema in properties.items()}
    properties = {name: {"$ref": f"#/$defs/{name}"} for name in definitions}
    one = {"type": "object", "additionalProperties": False, "properties": properties}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Weighbridge case file",
        "$defs": definitions,
        **one,
        "if": {"not": {"required": ["cases"]}},
        "then": {"required": ["model", "thresholds"]},
        "properties": {
            **properties,
            "matrix": {
                "type": "object",
                "description": "Each name and its values; used as ${{ matrix.name }}.",
            },
            "cases": {
                "type": "array",
                "items": {
                    **one,
                    "required": ["name"],
                    "properties": {**properties, "matrix": {"type": "object"}},
                },
            },
        },
    }


def _step(kind: str, step: Step) -> dict[str, Any]:
    options = _inline(step.options)
    properties = {name: _or_expression(schema) for name, schema in options["properties"].items()}
    if step.engine:
        properties["engine"] = _or_expression({"const": step.engine})
    named = _or_expression({"const": step.method})
    inline = {"type": "object", "properties": properties, "additionalProperties": False}
    return {
        "type": "object",
        "required": [kind],
        "additionalProperties": False,
        "properties": {kind: {"anyOf": [named, inline]}, **properties},
        "if": {"properties": {kind: {"const": step.method}}},
        "then": {"required": options.get("required", [])},
    }


def _or_expression(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema`, or a `${{ matrix.x }}`. Not `anyOf`: an editor would no longer say what is wrong inside."""
    return {
        **{key: schema[key] for key in ("description", "default") if key in schema},
        "if": _EXPRESSION,
        "else": schema,
    }


def _limit(options: type[Options], doc: str) -> dict[str, Any]:
    schema = _inline(options)
    number = {
        "anyOf": [{"type": "number"}, {"type": "string", "description": "with a unit, such as 5 MB or 12 ms"}]
    }
    properties = {
        name: number if name in ("min", "max", "equals") else value
        for name, value in schema["properties"].items()
    }
    return {
        "description": doc,
        "anyOf": [number, {"type": "object", "properties": properties, "additionalProperties": False}],
    }


def _inline(options: type[Options]) -> dict[str, Any]:
    """A pydantic schema with its `$defs` written in place, so that it can stand anywhere."""
    schema = options.model_json_schema()
    definitions = schema.pop("$defs", {})

    def expand(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return expand(definitions[value["$ref"].rsplit("/", 1)[-1]])
            return {
                key: expand(item) for key, item in value.items() if key != "title" or isinstance(item, dict)
            }
        return [expand(item) for item in value] if isinstance(value, list) else value

    expanded: dict[str, Any] = expand(schema)
    expanded.setdefault("properties", {})
    return expanded
