"""A raw case -> a frozen `Case`, every fault recorded with its line, what is valid, and what was perhaps meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, ValidationError

from weighbridge.case.expand import RawCase
from weighbridge.case.model import Case, CaseSpec, ModelRef, StepRef, ThresholdRef
from weighbridge.case.steps import order_fault, resolve_step
from weighbridge.case.text import Document, KeyPath
from weighbridge.contracts import (
    ENGINES,
    FORMATS,
    MEASURES,
    METRICS,
    NO_ENGINE,
    THRESHOLDS,
    Limit,
    Requirement,
    Step,
    Threshold,
)
from weighbridge.errors import did_you_mean
from weighbridge.units import parse

Faulter = Callable[..., None]


def validate(raw: RawCase, document: Document) -> Case | None:
    """The case, or None when it has faults (which are then in `document.faults`)."""
    before = len(document.faults)

    def fault(where: KeyPath, message: str, *, key: bool = False) -> None:
        document.fault(raw.locate(where), message, key=key)

    spec = check(
        CaseSpec,
        {
            key: value
            for key, value in raw.data.items()
            if value is not None or key in ("model", "thresholds")
        },
        (),
        fault,
    )
    data = raw.data
    model = _model(data.get("model"), ("model",), fault)
    candidate = (
        _model(data["candidate"], ("candidate",), fault) if data.get("candidate") is not None else None
    )
    engine, engine_options = _engine(data.get("engine"), fault)
    recipe = _recipe(data.get("recipe"), model.format if model else None, raw, document, fault)
    thresholds = _thresholds(data.get("thresholds"), raw, document, fault)
    if candidate and recipe:
        fault(("candidate",), "a case has a `recipe` or a finished `candidate`, not both", key=True)
    if spec is None or model is None or len(document.faults) > before:
        return None
    metric = spec.metric
    if metric is not None and ":" not in metric and metric not in METRICS:
        fault(
            ("metric",),
            f"unknown metric '{metric}'{did_you_mean(metric, METRICS.names())}; or write file.py:function",
        )
    case = Case(
        path=document.path,
        name=raw.name,
        line=document.marks.get(raw.locate(("name",)), document.marks[()])[0],
        model=model,
        thresholds=thresholds,
        recipe=recipe,
        candidate=candidate,
        data=spec.data,
        inputs=_shapes(spec.inputs),
        metric=metric,
        engine=engine,
        engine_options=engine_options,
        allow_chance=spec.allow_chance,
        seed=spec.seed,
        xfail={"*": spec.xfail} if isinstance(spec.xfail, str) else dict(spec.xfail or {}),
        skip=spec.skip,
        marks=tuple(spec.marks),
        requires=tuple(
            requirement
            for index, item in enumerate(spec.requires)
            if (requirement := _requirement(item, index, fault))
        ),
    )
    _needs(case, fault)
    return case if len(document.faults) == before else None


def check(schema: type[BaseModel], data: Any, where: KeyPath, fault: Faulter) -> Any:
    """`data` as `schema`, or None with every fault recorded under `where`."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            path = tuple(part for part in problem["loc"] if not _is_branch(part))
            location = (*where, *path)
            kind, last = problem["type"], str(path[-1]) if path else ""
            if kind == "extra_forbidden":
                fault(
                    location,
                    f"unknown key '{last}'{did_you_mean(last, schema.model_fields if len(path) == 1 else [])}",
                    key=True,
                )
            elif kind == "missing":
                fault(location[:-1], f"the key '{last}' is missing")
            else:
                fault(location, f"{'.'.join(map(str, location)) or 'value'}: {_plain(problem)}")
        return None


def _is_branch(part: str | int) -> bool:
    """pydantic puts the branch of a union into the path; keys never look like these."""
    return isinstance(part, str) and (part in ("str", "int", "float", "bool") or "[" in part)


def _plain(problem: Mapping[str, Any]) -> str:
    given = problem.get("input")
    message = str(problem["msg"]).removeprefix("Value error, ").replace("Input should be", "should be")
    return message if isinstance(given, dict | list) else f"{message}, not {given!r}"


def _model(data: Any, where: KeyPath, fault: Faulter) -> ModelRef | None:
    if not isinstance(data, dict):
        if data is not None:
            fault(where, f"`{where[0]}` is a mapping with one of {', '.join(FORMATS.names())}")
        return None
    for key in data:
        if key != "weights" and key not in FORMATS:
            fault(
                (*where, key),
                f"unknown key '{key}'{did_you_mean(key, [*FORMATS.names(), 'weights'])}",
                key=True,
            )
    named = [key for key in data if key in FORMATS]
    if len(named) != 1:
        fault(where, f"`{where[0]}` names one model by one of {', '.join(FORMATS.names())}, not {len(named)}")
        return None
    texts: dict[str, Any] = {key: data.get(key) for key in (named[0], "weights") if key in data}
    for key, value in texts.items():
        if not isinstance(value, str) or not value:
            fault((*where, key), f"{where[0]}.{key}: should be text, not {value!r}")
            return None
    return ModelRef(named[0], texts[named[0]], texts.get("weights"))


def _engine(data: Any, fault: Faulter) -> tuple[str | None, dict[str, Any]]:
    if data is None:
        return None, {}
    name = data.get("name") if isinstance(data, dict) else data
    where: KeyPath = ("engine", "name") if isinstance(data, dict) else ("engine",)
    if name is not None and not isinstance(name, str):
        fault(where, f"engine: should be text, not {name!r}")
        return None, {}
    if name is not None and name not in ENGINES:
        fault(where, f"unknown engine '{name}'{did_you_mean(name, ENGINES.names())}")
        return None, {}
    options = {key: value for key, value in data.items() if key != "name"} if isinstance(data, dict) else {}
    if name is not None:
        check(ENGINES.get(name).options, options, ("engine",), fault)
    return name, options


def _recipe(
    data: Any, format_: str | None, raw: RawCase, document: Document, fault: Faulter
) -> tuple[StepRef, ...]:
    if not isinstance(data, list):
        return ()
    refs: list[StepRef] = []
    steps: list[Step] = []
    for index, item in enumerate(data):
        where: KeyPath = ("recipe", index)
        if not isinstance(item, dict):
            continue  # the schema has said so
        try:
            step, kind, options = resolve_step(item, format_)
        except ValueError as error:
            key, message = error.args
            fault((*where, key), message)
            format_ = None
            continue
        if (reason := order_fault(steps, step)) is not None:
            fault(where, f"'{kind}: {step.method}' cannot stand here: {reason}")
        nested = (*where, kind) if isinstance(item[kind], dict) else where
        checked = check(step.options, options, nested, fault)
        format_ = step.returns or (format_ if format_ in step.accepts else step.accepts[0])
        steps.append(step)
        line = document.marks.get(raw.locate(where), (1, 1))[0]
        refs.append(StepRef(kind, step.method, step.engine, step.key, checked, line))
    return tuple(refs)


def _thresholds(data: Any, raw: RawCase, document: Document, fault: Faulter) -> tuple[ThresholdRef, ...]:
    if not isinstance(data, dict):
        return ()
    if not data:
        fault(
            ("thresholds",),
            f"no threshold, so nothing would be judged; valid: {', '.join(THRESHOLDS.names())}",
        )
    refs = []
    for name, value in data.items():
        where: KeyPath = ("thresholds", name)
        if name not in THRESHOLDS:
            fault(where, f"unknown threshold '{name}'{did_you_mean(name, THRESHOLDS.names())}", key=True)
            continue
        threshold = THRESHOLDS.get(name)
        stated = value if isinstance(value, dict) else {threshold.side: value}
        if value is None or isinstance(value, list | bool):
            fault(
                where,
                f"thresholds.{name}: a number or a mapping such as {{{threshold.side}: 1}}, not {value!r}",
            )
            continue
        numbers: dict[str, Any] = {}
        for key, item in stated.items():
            numbers[key] = item
            if isinstance(item, str) and key in ("min", "max", "equals"):
                try:
                    numbers[key] = parse(item, threshold.unit)
                except ValueError as error:
                    fault((*where, key), f"thresholds.{name}: {error}")
                    numbers[key] = 0
        limit = check(threshold.options, numbers, where, fault)
        if isinstance(limit, Limit):
            _consistent(limit, threshold.side, where, fault)
            line, column = document.keys.get(raw.locate(where), (1, 1))
            refs.append(ThresholdRef(name, limit, line, column))
    return tuple(refs)


def _consistent(limit: Limit, side: str, where: KeyPath, fault: Faulter) -> None:
    fields = type(limit).model_fields
    bounds = {name for name in ("min", "max", "equals") if getattr(limit, name) is not None}
    if not bounds and set(fields) <= set(Limit.model_fields):
        fault(where, f"{where[1]} states no limit; give {side}, or equals")
    if limit.min is not None and limit.max is not None and limit.min > limit.max:
        fault(where, f"{where[1]}: min {limit.min} is above max {limit.max}, so nothing could pass")
    if limit.equals is not None and len(bounds) > 1:
        fault(where, f"{where[1]}: `equals` stands alone, without min and max")
    if limit.confidence is not None and not 0.5 <= limit.confidence < 1:
        fault(where, f"{where[1]}.confidence is a probability from 0.5 to below 1, not {limit.confidence}")


def _needs(case: Case, fault: Faulter) -> None:
    """What a threshold cannot do without: data, a baseline."""
    for ref in case.thresholds:
        threshold = THRESHOLDS.get(ref.name)
        needs = MEASURES.get(threshold.measure).needs
        if ("data" in needs or "metric" in needs) and case.data is None:
            fault(("thresholds", ref.name), f"'{ref.name}' needs `data` with a test split", key=True)
        if not case.recipe and case.engine is None:
            _possible(ref.name, threshold, needs, case.candidate or case.model, fault)
        if threshold.relative and not case.recipe and case.candidate is None:
            fault(
                ("thresholds", ref.name),
                f"'{ref.name}' compares two models; give a `recipe` or a `candidate`, or an absolute budget",
                key=True,
            )
        if ref.limit.confidence is not None and threshold.unit in ("bytes", "count"):
            fault(
                ("thresholds", ref.name, "confidence"),
                f"'{ref.name}' is counted, not sampled, so it has no confidence",
                key=True,
            )
    for name in case.xfail:
        if name != "*" and name not in {ref.name for ref in case.thresholds}:
            fault(
                ("xfail", name),
                f"xfail names '{name}', which is no threshold of this case{did_you_mean(name, [ref.name for ref in case.thresholds])}",
                key=True,
            )


def _possible(name: str, threshold: Threshold, needs: tuple[str, ...], ref: ModelRef, fault: Faulter) -> None:
    """A finished file is known before it is opened, so what it cannot have is said when the limit is read."""
    what = f"{PurePath(ref.reference).name} is {ref.format}"
    if threshold.formats and ref.format not in threshold.formats:
        kinds = f"{', '.join(threshold.formats[:-1])} or {threshold.formats[-1]}".removeprefix(" or ")
        fault(("thresholds", name), f"'{name}' is a quantity of {kinds} models; {what}", key=True)
    if FORMATS.get(ref.format).engine == NO_ENGINE and {"data", "metric", "inputs"} & set(needs):
        fault(("thresholds", name), f"'{name}' needs a model that runs; {what}, which holds tensors only", key=True)


def _shapes(inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return {name: tuple(shape) for name, shape in inputs.items()}
    return None if inputs is None else tuple(tuple(shape) for shape in inputs)


def _requirement(spec: Any, index: int, fault: Faulter) -> Requirement | None:
    named = [
        (kind, getattr(spec, kind))
        for kind in ("package", "isa", "path", "engine")
        if getattr(spec, kind) is not None
    ]
    if len(named) != 1:
        fault(("requires", index), "a requirement names one of package, isa, path, engine")
        return None
    return Requirement(named[0][0], named[0][1], spec.install)
