"""A raw case -> a frozen `Case`, every fault recorded with its line, what is valid, and what was perhaps meant."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from weighbridge.case.check import Faulter, check
from weighbridge.case.expand import RawCase
from weighbridge.case.limits import check_possible, known_metric, read_thresholds
from weighbridge.case.model import Case, CaseSpec, Limits, ModelRef, RequirementSpec, StepRef, ThresholdRef
from weighbridge.case.spelling import check_spelling
from weighbridge.case.steps import order_fault, promising, resolve_step
from weighbridge.case.text import Document, KeyPath, Mark
from weighbridge.contracts import ENGINES, FORMATS, MEASURES, METRICS, THRESHOLDS, Requirement, Step
from weighbridge.core.errors import did_you_mean
from weighbridge.environment.requirements import unknown_name
from weighbridge.measure.by_torchmetrics import faults_of

TARGET = "target"
_ACTED_ON = {
    "xfail": "every failure would pass, an error too: write `xfail: REASON` beside `thresholds`",
    "skip": "nobody would learn the reason: write `skip: REASON` beside `thresholds`",
    "skipif": "it would skip without a condition: write `requires:`, or `skip: REASON`",
}
"""Marks that pytest acts on by itself, without the case's reason and rules, and what a case has instead."""


def validate(raw: RawCase, document: Document, recipe_to_come: bool = False) -> Case | None:
    """The case, or None when it has faults (which are then in `document.faults`)."""
    before = len(document.faults)

    def locate(where: KeyPath) -> KeyPath:
        # A target is judged as a threshold is, and stands beside the others so that all cases of a file share it.
        return raw.locate(where[1:] if where[:2] == ("thresholds", TARGET) and TARGET in raw.data else where)

    def fault(where: KeyPath, message: str, *, key: bool = False) -> None:
        document.fault(locate(where), message, key=key)

    def key_mark(where: KeyPath) -> Mark:
        return document.keys.get(locate(where), (1, 1))

    data = {
        key: value for key, value in raw.data.items() if value is not None or key in ("model", "thresholds")
    }
    if TARGET in data and isinstance(data.get("thresholds"), dict):
        if TARGET in data["thresholds"]:
            document.fault(
                raw.locate(("thresholds", TARGET)), "`target` stands beside `thresholds` already", key=True
            )
        data["thresholds"] = {**data["thresholds"], TARGET: data[TARGET]}
    spec = check(CaseSpec, data, (), fault)
    model = _model(data.get("model"), ("model",), key_mark, fault)
    candidate = _model(data["candidate"], ("candidate",), key_mark, fault) if "candidate" in data else None
    recipe, final = _recipe(
        data.get("recipe"), candidate or model, raw, document, fault, _served(data.get("engine"))
    )
    engine, engine_options = _engine(data.get("engine"), final, fault)
    thresholds = read_thresholds(data.get("thresholds"), key_mark, fault)
    requires = _requirements(data.get("requires"), fault)
    _metric(data.get("metric"), fault)
    check_spelling(thresholds, final, fault)
    if "candidate" in data and data.get("recipe"):
        fault(("candidate",), "a case has a `recipe` or a finished `candidate`, not both", key=True)
    if spec is None or model is None:
        return None
    if spec.repeat > 1 and not recipe:
        fault(("repeat",), "`repeat` carries a `recipe` out again, and the case has none", key=True)
    check_possible(
        thresholds,
        fault,
        source=model.format,
        finished=None if spec.recipe or engine or recipe_to_come else candidate or model,
        compares=bool(spec.recipe or spec.candidate) or recipe_to_come,
        data=spec.data is not None,
        inputs=spec.inputs is not None,
        metric=known_metric(spec.metric),
    )
    if spec.data is not None and spec.inputs is not None:
        fault(
            ("inputs",),
            "a case has `data` or invented `inputs`, not both: the samples would be those of `data`",
            key=True,
        )
    if spec.sequence:
        _steps_only(thresholds, fault)
    if spec.skip is not None and not spec.skip.strip():
        fault(("skip",), "`skip` needs its reason: whoever reads the report asks why nothing was weighed")
    for index, mark in enumerate(spec.marks):
        if mark in _ACTED_ON:
            fault(("marks", index), f"pytest acts on the mark '{mark}' by itself, and {_ACTED_ON[mark]}")
    xfail = {"*": spec.xfail} if isinstance(spec.xfail, str) else dict(spec.xfail or {})
    _xfail(xfail, [*data["thresholds"], *promising(recipe)], fault)
    if len(document.faults) > before:
        return None
    return Case(
        path=document.path,
        name=raw.name,
        line=document.marks.get(raw.locate(("name",)), document.marks[()])[0],
        model=model,
        thresholds=thresholds,
        recipe=recipe,
        candidate=candidate,
        data=spec.data,
        inputs=_shapes(spec.inputs),
        targets=tuple(spec.targets) if isinstance(spec.targets, list) else spec.targets,
        groups=spec.groups,
        batch=spec.batch,
        sequence=spec.sequence,
        metric=spec.metric,
        engine=engine,
        engine_options=engine_options,
        allow_chance=spec.allow_chance,
        seed=spec.seed,
        repeat=spec.repeat,
        xfail=xfail,
        skip=spec.skip,
        marks=tuple(spec.marks),
        requires=requires,
        limits=Limits(spec.limits.time, spec.limits.memory) if spec.limits else Limits(),
        trust=spec.trust,
    )


def _model(data: Any, where: KeyPath, key_mark: Callable[[KeyPath], Mark], fault: Faulter) -> ModelRef | None:
    if not isinstance(data, dict):
        return None  # the schema has said so
    known = [*FORMATS.names(), "weights"]
    unknown = [key for key in data if key not in known]
    for key in unknown:
        fault((*where, key), f"unknown key '{key}'{did_you_mean(key, known)}", key=True)
    named = [key for key in data if key in FORMATS]
    if len(named) > 1 or not (named or unknown):
        fault(where, f"`{where[0]}` names one model by one of {', '.join(FORMATS.names())}, not {len(named)}")
    texts: dict[str, Any] = {key: data[key] for key in known if key in data}
    wrong = {key: value for key, value in texts.items() if not isinstance(value, str) or not value}
    for key, value in wrong.items():
        shown = (
            "" if isinstance(value, dict | list) else f", not {'nothing' if value is None else repr(value)}"
        )
        fault((*where, key), f"{where[0]}.{key}: should be text{shown}")
    if len(named) != 1 or wrong:
        return None
    return ModelRef(named[0], texts[named[0]], texts.get("weights"), key_mark(where)[0])


def _engine(data: Any, format_: str | None, fault: Faulter) -> tuple[str | None, dict[str, Any]]:
    """The engine that the case names and its options; options alone are those of the format's own engine."""
    if not isinstance(data, str | dict):
        return None, {}
    name = data.get("name") if isinstance(data, dict) else data
    where: KeyPath = ("engine", "name") if isinstance(data, dict) else ("engine",)
    if name is not None and not isinstance(name, str):
        fault(where, f"engine.name: should be text, not {name!r}")
        return None, {}
    if name is not None and name not in ENGINES:
        fault(where, f"unknown engine '{name}'{did_you_mean(name, ENGINES.names())}")
        return None, {}
    options = {key: value for key, value in data.items() if key != "name"} if isinstance(data, dict) else {}
    serving = name or (FORMATS.get(format_).engine if format_ else None)
    if serving is not None:
        check(ENGINES.get(serving).options, options, ("engine",), fault)
    return name, options


def _served(data: Any) -> tuple[str, ...]:
    """The formats that the engine opens which the case names; none where it names no known one."""
    name = data.get("name") if isinstance(data, dict) else data
    return ENGINES.get(name).formats if isinstance(name, str) and name in ENGINES else ()


def _recipe(
    data: Any,
    start: ModelRef | None,
    raw: RawCase,
    document: Document,
    fault: Faulter,
    served: Collection[str],
) -> tuple[tuple[StepRef, ...], str | None]:
    """The steps, and the format that the model has after them (None where a fault hides it)."""
    format_ = start.format if start else None
    refs: list[StepRef] = []
    steps: list[Step] = []
    for index, item in enumerate(data if isinstance(data, list) else ()):
        where: KeyPath = ("recipe", index)
        if not isinstance(item, dict):
            format_ = None
            continue  # the schema has said so
        try:
            step, kind, options = resolve_step(item, format_, served)
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
    return tuple(refs), format_


def _metric(metric: Any, fault: Faulter) -> None:
    if isinstance(metric, dict):
        for key, message in faults_of(metric):
            fault(("metric", key) if key else ("metric",), message)
    elif isinstance(metric, str) and ":" not in metric and metric not in METRICS:
        hint = did_you_mean(metric, METRICS.names())
        fault(("metric",), f"unknown metric '{metric}'{hint}; or write file.py:function")


def _xfail(reasons: dict[str, str], thresholds: list[str], fault: Faulter) -> None:
    for name, reason in reasons.items():
        if not reason.strip():
            where: KeyPath = ("xfail",) if name == "*" else ("xfail", name)
            fault(where, "`xfail` needs its reason: whoever reads the report asks why a miss is expected")
        if name != "*" and name not in thresholds:
            hint = did_you_mean(name, thresholds)
            fault(
                ("xfail", name), f"xfail names '{name}', which is no threshold of this case{hint}", key=True
            )


def _steps_only(thresholds: tuple[ThresholdRef, ...], fault: Faulter) -> None:
    """A sequence is fed step by step; what is timed in a fresh process, or by a whole call, knows of none."""
    for ref in thresholds:
        if MEASURES.get(THRESHOLDS.get(ref.name).measure).bench:
            fault(("thresholds", ref.name), f"'{ref.name}' is not measured with `sequence: true`", key=True)


def _shapes(inputs: Any) -> tuple[tuple[int, ...], ...] | dict[str, tuple[int, ...]] | None:
    if isinstance(inputs, dict):
        return {name: tuple(shape) for name, shape in inputs.items()}
    return inputs if inputs is None or inputs == "random" else tuple(tuple(shape) for shape in inputs)


def _requirements(data: Any, fault: Faulter) -> tuple[Requirement, ...]:
    found = []
    for index, item in enumerate(data if isinstance(data, list) else ()):
        where: KeyPath = ("requires", index)
        spec = check(RequirementSpec, item, where, fault) if isinstance(item, dict) else None
        if spec is None:
            continue
        kinds = {kind: name for kind in ("package", "isa", "path", "engine") if (name := getattr(spec, kind))}
        if len(kinds) != 1:
            fault(where, "a requirement names one of package, isa, path, engine")
        for kind, name in kinds.items():
            if (why := unknown_name(kind, name)) is not None:
                fault((*where, kind), why)
        found += [Requirement(kind, name, spec.install) for kind, name in kinds.items()]
    return tuple(found)
