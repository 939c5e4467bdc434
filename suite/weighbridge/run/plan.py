"""`Case` -> `Plan`: stages in order, conversions inserted, requirements known, before a tensor exists."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from weighbridge.case.model import Case, StepRef
from weighbridge.case.steps import path_between, promising
from weighbridge.contracts import CONVERTERS, ENGINES, FORMATS, MEASURES, STEPS, THRESHOLDS, Requirement
from weighbridge.core.errors import StageError
from weighbridge.measure.metrics import metric_requires


@dataclass(frozen=True)
class Stage:
    """One thing to do: a step of the recipe, or a conversion to the format `target`."""

    step: StepRef | None = None
    target: str | None = None

    def __str__(self) -> str:
        return str(self.step) if self.step else f"convert to {self.target}"


@dataclass(frozen=True)
class Plan:
    """What will be done for a case. Plain data: `wire.py` makes JSON of it."""

    case: Case
    stages: tuple[Stage, ...]
    baseline: tuple[str, ...]
    """The formats that the original is carried through, to stand beside the candidate."""
    engine: str
    baseline_engine: str
    wanted: tuple[str, ...]
    """The thresholds and round trips that will be judged."""
    measures: tuple[str, ...]
    """What is measured, in order; what reads a clock comes last."""
    requirements: tuple[Requirement, ...]

    @property
    def unasked(self) -> tuple[str, ...]:
        """The thresholds and round trips of the case that will not be judged."""
        return tuple(name for name in _judged(self.case) if name not in self.wanted)


def _judged(case: Case) -> list[str]:
    return [*(ref.name for ref in case.thresholds), *promising(case.recipe)]


def converter_key(source: str, target: str) -> str:
    return f"{source}->{target}"


def make_plan(
    case: Case, wanted: Collection[str] | None = None, bench: bool = True, also: Collection[str] = ()
) -> Plan:
    """The plan of `case`; raises `StageError` when no chain of formats leads to the engine.

    `wanted` are the thresholds and round trips to judge (all, without it), `bench` tells whether what reads a clock
    is measured, and `also` names measurements that a report shows though no threshold asks for them.
    """
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
    judged = tuple(name for name in _judged(case) if wanted is None or name in wanted)
    asked = {THRESHOLDS.get(name).measure for name in judged if name in THRESHOLDS}
    taken = [
        measure
        for measure in MEASURES
        if (measure.name in asked or measure.name in also or not (measure.on_demand or measure.bench))
        and (bench or not measure.bench)
        and _possible(case, measure.needs)
    ]
    return Plan(
        case=case,
        stages=tuple(stages),
        baseline=tuple(baseline or ()),
        engine=engine,
        baseline_engine=baseline_engine,
        wanted=judged,
        measures=tuple(measure.name for measure in sorted(taken, key=lambda measure: measure.bench)),
        requirements=_requirements(case, stages, final, engine, baseline or []),
    )


def impossible_plan(case: Case, wanted: Collection[str]) -> Plan:
    """The plan of a case that has none: it only knows what was to be judged."""
    return Plan(case, (), (), "", "", tuple(wanted), (), ())


def _path(source: str, targets: tuple[str, ...], what: str) -> list[str]:
    path = path_between(source, targets)
    if path is None:
        raise StageError(
            "plan", f"no conversion leads from {source} to {' or '.join(targets)}, which {what} takes"
        )
    return path


def _possible(case: Case, needs: tuple[str, ...]) -> bool:
    """Whether a measurement has what it needs, so that it is taken even where no threshold asks for it."""
    declared = FORMATS.get(case.model.format).declares_inputs
    samples = case.data is not None or case.inputs is not None or declared
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
    found = [*case.requires, *metric_requires(case.metric)]
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
