"""`Case` -> `Plan`: stages in order, conversions inserted, requirements known, before a tensor exists."""

from __future__ import annotations

from dataclasses import dataclass

from weighbridge.case.model import Case, StepRef
from weighbridge.case.steps import path_between
from weighbridge.contracts import CONVERTERS, ENGINES, FORMATS, MEASURES, STEPS, THRESHOLDS, Requirement
from weighbridge.core.errors import StageError


@dataclass(frozen=True)
class Stage:
    """One thing to do: a step of the recipe, or a conversion to the format `target`."""

    step: StepRef | None = None
    target: str | None = None

    def __str__(self) -> str:
        return str(self.step) if self.step else f"convert to {self.target}"


@dataclass(frozen=True)
class Plan:
    """What will be done for a case. Plain data."""

    case: Case
    stages: tuple[Stage, ...]
    baseline: tuple[str, ...]
    """The formats that the original is carried through, to stand beside the candidate."""
    format: str
    engine: str
    baseline_engine: str
    measures: tuple[str, ...]
    bench: tuple[str, ...]
    requirements: tuple[Requirement, ...]


def converter_key(source: str, target: str) -> str:
    return f"{source}->{target}"


def make_plan(case: Case) -> Plan:
    """The plan of `case`; raises `StageError` when no chain of formats leads to the engine."""
    stages: list[Stage] = []
    current = case.candidate.format if case.candidate else case.model.format
    for ref in case.recipe:
        step = STEPS.get(ref.key)
        stages += [Stage(target=target) for target in _path(current, step.accepts, str(ref))]
        current = stages[-1].target or current if stages and stages[-1].target else current
        stages.append(Stage(step=ref))
        current = step.returns or current
    engine = case.engine or FORMATS.get(current).engine
    served = ENGINES.get(engine).formats
    conversions = _path(current, served, f"engine {engine}")
    stages += [Stage(target=target) for target in conversions]
    final = conversions[-1] if conversions else current
    baseline = path_between(case.model.format, [final])
    baseline_format = final if baseline is not None else case.model.format
    baseline_engine = engine if baseline_format in served else FORMATS.get(baseline_format).engine
    needed = dict.fromkeys(THRESHOLDS.get(ref.name).measure for ref in case.thresholds)
    taken = [
        measure.name
        for measure in MEASURES
        if not measure.bench
        and (measure.name in needed or not measure.on_demand)
        and _possible(case, measure.needs)
    ]
    return Plan(
        case=case,
        stages=tuple(stages),
        baseline=tuple(baseline or ()),
        format=final,
        engine=engine,
        baseline_engine=baseline_engine,
        measures=tuple(taken),
        bench=tuple(name for name in needed if MEASURES.get(name).bench),
        requirements=_requirements(case, stages, final, engine, baseline or []),
    )


def _path(source: str, targets: tuple[str, ...], what: str) -> list[str]:
    path = path_between(source, targets)
    if path is None:
        raise StageError(
            "plan", f"no conversion leads from {source} to {' or '.join(targets)}, which {what} takes"
        )
    return path


def _possible(case: Case, needs: tuple[str, ...]) -> bool:
    """Whether a measurement has what it needs, so that it is taken even where no threshold asks for it."""
    samples = case.data is not None or case.inputs is not None or case.model.format in ("onnx", "tflite")
    has = {
        "data": case.data is not None,
        "metric": case.data is not None,
        "inputs": samples,
        "baseline": bool(case.recipe or case.candidate),
    }
    return all(has[need] for need in needs)


def _requirements(
    case: Case, stages: list[Stage], final: str, engine: str, baseline: list[str]
) -> tuple[Requirement, ...]:
    found = list(case.requires)
    current = case.candidate.format if case.candidate else case.model.format
    found += [*FORMATS.get(case.model.format).requires, *FORMATS.get(current).requires]
    for stage in stages:
        if stage.step:
            step = STEPS.get(stage.step.key)
            found += step.requires
            current = step.returns or current
        elif stage.target:
            found += CONVERTERS.get(converter_key(current, stage.target)).requires
            current = stage.target
    current = case.model.format
    for target in baseline:
        found += CONVERTERS.get(converter_key(current, target)).requires
        current = target
    found += [*FORMATS.get(final).requires, *ENGINES.get(engine).requires]
    return tuple(dict.fromkeys(found))
