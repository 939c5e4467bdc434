"""A plan as JSON: what a worker, or another machine, is handed. Registry keys with their options, never objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from weighbridge.case.model import Case, StepRef, ThresholdRef
from weighbridge.contracts import STEPS, THRESHOLDS
from weighbridge.run.plan import Plan, Stage


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """JSON data that `plan_from_json` makes the same plan of, where the same extensions are registered."""
    case = plan.case
    bare = replace(plan, case=replace(case, recipe=(), thresholds=()), stages=())
    data: dict[str, Any] = _adapter().dump_python(bare, mode="json")
    data["recipe"] = [_step_to_json(ref) for ref in case.recipe]
    data["thresholds"] = [
        [ref.name, ref.limit.model_dump(mode="json", exclude_unset=True), ref.line, ref.column]
        for ref in case.thresholds
    ]
    data["stages"] = [
        {"step": stage.step and case.recipe.index(stage.step), "target": stage.target}
        for stage in plan.stages
    ]
    return data


def plan_from_json(data: Mapping[str, Any]) -> Plan:
    """The plan; raises `UsageError` where a step or threshold that it names is not registered here."""
    recipe = tuple(_step_from_json(item) for item in data["recipe"])
    thresholds = tuple(
        ThresholdRef(name, THRESHOLDS.get(name).options.model_validate_json(json.dumps(limit)), line, column)
        for name, limit, line, column in data["thresholds"]
    )
    bare = {key: value for key, value in data.items() if key not in ("recipe", "thresholds", "stages")}
    plan: Plan = _adapter().validate_python({**bare, "stages": []})
    stages = tuple(
        Stage(None if item["step"] is None else recipe[item["step"]], item["target"])
        for item in data["stages"]
    )
    case: Case = replace(plan.case, recipe=recipe, thresholds=thresholds)
    return replace(plan, case=case, stages=stages)


def _step_to_json(ref: StepRef) -> list[Any]:
    stated = ref.options.model_dump(mode="json", exclude_unset=True)  # what is unsaid stays so: schemas ask
    return [ref.kind, ref.method, ref.engine, ref.key, stated, ref.line]


def _step_from_json(item: list[Any]) -> StepRef:
    kind, method, engine, key, options, line = item
    checked = STEPS.get(key).options.model_validate_json(json.dumps(options))
    return StepRef(kind, method, engine, key, checked, line)


@cache
def _adapter() -> TypeAdapter[Plan]:
    return TypeAdapter(Plan)
