"""Which layers lost it, as a rule where a threshold on the model's outputs was missed.

A recipe's steps are looked at apart, since a layer is compared with what its step was given: a step that trains makes
another model, of which single layers mean nothing in the one before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from weighbridge.case.model import Case, StepRef
from weighbridge.case.steps import path_between
from weighbridge.contracts import STEPS, THRESHOLDS, Weighing
from weighbridge.core.errors import StageError
from weighbridge.core.flow import flow
from weighbridge.core.layer_errors import BIT, LayerErrors
from weighbridge.core.results import Artifact, Status, Verdict
from weighbridge.measure.layer_error import OutputError
from weighbridge.run.chain import Chain
from weighbridge.run.plan import Plan, Stage
from weighbridge.run.workshop import Workshop

_OF_OUTPUTS = ("accuracy", "fidelity")
"""The measurements of what the model answers."""


def is_missed(verdict: Verdict) -> bool:
    """Whether a threshold on the outputs was missed, which layers can be blamed for."""
    return (
        verdict.status is Status.FAIL
        and verdict.measured is not None
        and not (verdict.margin is not None and verdict.margin >= 0)  # an xfail that passes fails too
        and verdict.threshold in THRESHOLDS
        and THRESHOLDS.get(verdict.threshold).measure in _OF_OUTPUTS
    )


def trains(ref: StepRef) -> bool:
    return "train" in STEPS.get(ref.key).splits


def find_layer_errors(
    plan: Plan, shop: Workshop, weighing: Weighing, deadline: float, tries: bool
) -> LayerErrors | None:
    """The layers of the part of the recipe that lost most of the output; None where it cannot be told. With `tries`, what could
    be done about it is carried out too, to say what it brings.

    Once `time.monotonic()` is past `deadline`, no further layer is looked at, and no `exclude` and no step in front
    is tried that would not be done by then. Raises whatever a step, an engine or the data raises.
    """
    if not weighing.engine.runs:
        return None
    shop.enter("layers", "output error by layer", None)
    if plan.case.candidate:
        return _of_candidate(plan, weighing, deadline)
    parts = [_Part(plan, shop, weighing, start, stop) for start, stop in _parts(plan.case)]
    worst = min(parts, key=lambda part: part.output_db, default=None)
    if worst is None:
        return None
    found = worst.errors(deadline)
    return worst.tried(found, deadline) if tries else found


def _of_candidate(plan: Plan, weighing: Weighing, deadline: float) -> LayerErrors | None:
    baseline, candidate = weighing.baseline, weighing.candidate
    if baseline is None or baseline.format != candidate.format or plan.baseline_engine != plan.engine:
        return None
    output = OutputError(weighing.engine, weighing.engine_options, baseline, candidate, weighing.data)
    error = output.of_artifact(candidate)
    found = LayerErrors("", plan.case.line, output.samples, output.inputs, error)
    return output.by_layer(found, candidate, deadline)


def _parts(case: Case) -> Iterator[tuple[int, int]]:
    """The steps to look at together, as numbers of the first and the one after the last: pruning, and quantizing."""
    kinds = [ref.kind for ref in case.recipe]
    trained = max((number for number, ref in enumerate(case.recipe) if trains(ref)), default=-1) + 1
    quantizing = next((at for at in range(trained, len(kinds)) if kinds[at] == "quantize"), len(kinds))
    if trained < quantizing:
        yield trained, quantizing
    if quantizing < len(kinds):
        yield quantizing, len(kinds)


@dataclass
class _Part:
    """A part of the recipe: the model that it takes, the one that it gives, both as the engine would serve them."""

    plan: Plan
    shop: Workshop
    weighing: Weighing
    start: int
    stop: int

    def __post_init__(self) -> None:
        places = [at for at, stage in enumerate(self.plan.stages) if stage.step]
        self._at = places[self.start]
        self._until = places[self.stop - 1] + 1
        original = self._artifact(list(self.plan.stages[: self._at]))
        self._result = self._artifact(list(self.plan.stages[: self._until]))
        weighing = self.weighing
        self._output = OutputError(
            weighing.engine, weighing.engine_options, original, self._result, weighing.data
        )
        self.output_db = self._output.of_artifact(self._result)

    @property
    def _step(self) -> StepRef:
        return self.plan.case.recipe[self.start]

    def errors(self, deadline: float) -> LayerErrors:
        step, output = self._step, self._output
        found = LayerErrors(str(step), step.line, output.samples, output.inputs, self.output_db)
        return output.by_layer(found, self._result, deadline)

    def tried(self, found: LayerErrors, deadline: float) -> LayerErrors:
        """`found` with what leaving layers out, and a step in front, would bring, where that is a bit or more."""
        step = self._step
        if "exclude" in type(step.options).model_fields and found.proposal and self._again_by(deadline):
            exclude = (*step.options.exclude, *map(pattern_of, found.proposal))
            options = step.options.model_copy(update={"exclude": list(exclude)})
            if (better := self._with(replace(step, options=options))) is not None:
                found = replace(found, exclude=exclude, excluded_db=better)
        for before in self._preparing():
            if self._again_by(deadline) and (better := self._with(before, step)) is not None:
                return replace(found, before=_written(before), before_db=better)
        return found

    def _again_by(self, deadline: float) -> bool:
        """Whether the part's steps would be done by then, as long as they took: a trial of a large model must not take the
        case beyond its time.
        """
        chain = Chain(self.shop, self.plan.case.model, self.plan.stages)
        took = sum(record.seconds for record in chain.records()[self.start : self.stop])
        return time.monotonic() + took < deadline

    def _preparing(self) -> Iterator[StepRef]:
        """The steps to try in front of a quantizer that learns from the same samples as they do, and has none in front yet.

        One that works towards the case's limits would be a search anew.
        """
        mine = STEPS.get(self._step.key)
        kinds = {ref.kind for ref in self.plan.case.recipe}
        if mine.kind != "quantize" or mine.aims:
            return
        given = Chain(self.shop, self.plan.case.model, list(self.plan.stages[: self._at])).format
        for step in STEPS:
            stated = step.options.before_quantizing
            if not stated or step.kind in kinds:
                continue
            if given in step.accepts and set(step.splits) <= set(mine.splits):
                options = step.options.model_validate(stated)
                yield StepRef(step.kind, step.method, step.engine, step.key, options, self._step.line)

    def _with(self, *steps: StepRef) -> float | None:
        """Signal to noise of the part's output with these in place of its first step, where a bit is gained."""
        behind = self.plan.stages[self._at + 1 : self._until]
        stages = [*self.plan.stages[: self._at], *(Stage(step=step) for step in steps), *behind]
        try:
            better = self._output.of_artifact(self._artifact(stages))
        except Exception:
            # A step does not know a layer by this name, takes another format or has nothing to do, or a library refuses what
            # it made: what was found without it stays.
            return None
        return better if better >= self.output_db + BIT else None

    def _artifact(self, stages: list[Stage]) -> Artifact:
        """The case's model after `stages`, in the candidate's format."""
        model, final = self.plan.case.model, self.weighing.candidate.format
        path = path_between(Chain(self.shop, model, stages).format, [final])
        if path is None:
            raise StageError("layers", f"no conversion leads from step {self._step} to {final}")
        return Chain(self.shop, model, [*stages, *(Stage(target=target) for target in path)]).artifact()


def _written(ref: StepRef) -> str:
    """A step on one line of a recipe."""
    stated = ref.options.model_dump(mode="json", exclude_unset=True)
    return flow({ref.kind: ref.method, **stated})


def pattern_of(name: str) -> str:
    """A layer's name as a pattern that fits no other: what `*`, `?` and `[` mean in one is taken away."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
