"""What a search chooses among: recipes for a case's model and engine, composed of what the registries know.

A step takes part with the options that its class declares under `tunes`. Numbers are chosen from a grid, so that many
recipes begin alike, and share what the store has of their beginnings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from weighbridge.case.model import Case, StepRef
from weighbridge.case.steps import path_between, resolve_step
from weighbridge.contracts import ENGINES, STEPS, THRESHOLDS, Step
from weighbridge.environment.requirements import missing
from weighbridge.propose import rewritten

KINDS = ("prune", "finetune", "cluster", "quantize")
"""In the order in which they can follow each other; nothing follows a quantization."""
NONE = "none"
MOST_SPARED = 6
"""Layers that a quantize step leaves in float, of those that cost the outputs most."""


class Chooser(Protocol):
    """An Optuna trial, as far as it is asked."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...

    def suggest_int(self, name: str, low: int, high: int) -> int: ...


@dataclass(frozen=True)
class Space:
    """The steps that may stand in a recipe, by kind."""

    steps: Mapping[str, tuple[Step, ...]]
    absent: tuple[str, ...] = ()
    """Why steps that would take part do not."""
    format: str = "onnx"
    """Of the case's model."""

    @property
    def trains(self) -> bool:
        return any("train" in step.splits for some in self.steps.values() for step in some)

    def choose(
        self, chooser: Chooser, worst: Mapping[str, Sequence[str]]
    ) -> tuple[rewritten.Step, ...] | None:
        """A recipe; None where nothing was chosen, or steps that cannot follow each other.

        `worst` has patterns of the layers to spare by step, worst first.
        """
        recipe: list[rewritten.Step] = []
        format_ = self.format
        for kind, steps in self.steps.items():
            fitting = [step for step in steps if path_between(format_, step.accepts) is not None]
            if not fitting or (kind == "finetune" and not recipe):
                continue  # there is nothing that training could mend, or nothing yet
            nothing = [NONE] if self._optional else []
            key = chooser.suggest_categorical(kind, [*nothing, *(step.key for step in steps)])
            if key == NONE:
                continue
            step = STEPS.get(key)
            if step not in fitting:
                return None
            recipe.append(_chosen(step, chooser, worst.get(key, ())))
            format_ = after(step, format_)
        return tuple(recipe) or None

    def parameters(self, recipe: Sequence[StepRef]) -> dict[str, Any] | None:
        """What `choose` has to choose for this recipe; None where it is not among those that can be chosen."""
        found: dict[str, Any] = {kind: NONE for kind in self.steps if self._optional}
        kinds = [ref.kind for ref in recipe]
        if kinds != [kind for kind in self.steps if kind in kinds]:
            return None
        for ref in recipe:
            step = STEPS.get(ref.key)
            values = {name: getattr(ref.options, name) for name in step.options.tunes}
            others = {
                name: getattr(ref.options, name) for name in ref.options.model_fields_set - values.keys()
            }
            if step not in self.steps[ref.kind] or any(
                value != _default(step, name) for name, value in others.items()
            ):
                return None
            found[ref.kind] = ref.key
            for name, value in values.items():
                known = step.options.tunes[name]
                if value not in known:
                    return None
                found[f"{ref.key}.{name}"] = known.index(value) if _ordered(known) else value
        return found

    def before(self, kind: str) -> tuple[rewritten.Step, ...]:
        """The first method of every kind but `kind`, with what is halfway among its values."""
        return tuple(
            _chosen(steps[0], _Halfway(), ()) for other, steps in self.steps.items() if other != kind
        )

    @property
    def _optional(self) -> bool:
        return len(self.steps) > 1


class _Halfway:
    """Chooses what is first of names, and in the middle of numbers."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return choices[0]

    def suggest_int(self, name: str, low: int, high: int) -> int:
        return (low + high) // 2


def space_of(case: Case, engine: str, splits: Collection[str]) -> Space:
    """The steps that lead from the case's model to what `engine` runs, with what data and packages there are."""
    judged = {THRESHOLDS.get(ref.name).measure for ref in case.thresholds}
    steps: dict[str, tuple[Step, ...]] = {}
    absent: list[str] = []
    for kind in KINDS:
        fitting = [step for step in STEPS if step.kind == kind and _fits(step, case, engine, splits, judged)]
        there = [step for step in fitting if missing(*step.requires) is None]
        absent += [
            f"{step.kind}: {step.method}: {missing(*step.requires)}" for step in fitting if step not in there
        ]
        if there:
            # Before a conversion goes what takes the model as it is: training can follow it. A study of another process has
            # the same choices in the same order, whatever was imported first there.
            steps[kind] = tuple(
                sorted(there, key=lambda step: (case.model.format not in step.accepts, step.key))
            )
    if set(steps) == {"finetune"}:
        steps = {}
    return Space(steps, tuple(absent), case.model.format)


def resolved(recipe: Sequence[rewritten.Step], format_: str) -> tuple[StepRef, ...]:
    """The steps with their methods and checked options, on a model of this format."""
    found = []
    for raw in recipe:
        step, kind, written = resolve_step(raw, format_)
        found.append(
            StepRef(kind, step.method, raw.get("engine"), step.key, step.options.model_validate(written), 1)
        )
        format_ = after(step, format_)
    return tuple(found)


def after(step: Step, format_: str) -> str:
    """The format of what the step gives for a model of the format `format_`, converted to what it takes."""
    path = path_between(format_, step.accepts)
    return step.returns or (path[-1] if path else format_)


def around(recipe: Sequence[StepRef]) -> list[tuple[StepRef, ...]]:
    """The recipe with one option of one step as it could be instead, for each of them."""
    found = []
    for place, ref in enumerate(recipe):
        stated = ref.options.model_dump(exclude_unset=True)
        for name, values in ref.options.tunes.items():
            for value in values:
                with suppress(ValueError):  # what does not go with the other options
                    options = type(ref.options).model_validate({**stated, name: value})
                    if getattr(ref.options, name) != value:
                        found.append((*recipe[:place], replace(ref, options=options), *recipe[place + 1 :]))
    return found


def as_stated(ref: StepRef) -> rewritten.Step:
    """The step as a case file has it, alike for all that mean the same: what is fixed by default is left out."""
    step, stated = STEPS.get(ref.key), ref.options.model_dump(mode="json", exclude_unset=True)
    options = {
        name: value for name, value in stated.items() if value != step.options.model_fields[name].default
    }
    return {ref.kind: ref.method, **({} if step.engine is None else {"engine": step.engine}), **options}


def _fits(step: Step, case: Case, engine: str, splits: Collection[str], judged: Collection[str]) -> bool:
    options = step.options
    if not options.tunes or (options.serves and not set(options.serves) & set(judged)):
        return False
    if step.engine not in (None, engine):
        return False
    if any(name not in splits and not (name == "calibration" and "train" in splits) for name in step.splits):
        return False
    path = path_between(case.model.format, step.accepts)
    if path is None:
        return False
    given = step.returns or (path[-1] if path else case.model.format)
    return path_between(given, ENGINES.get(engine).formats) is not None


def _chosen(step: Step, chooser: Chooser, worst: Sequence[str]) -> rewritten.Step:
    """The step as a case file has it: options that are as they are by default are left out."""
    found: dict[str, Any] = {step.kind: step.method}
    if step.engine is not None:
        found["engine"] = step.engine
    for name, values in step.options.tunes.items():
        asked = f"{step.key}.{name}"
        value = (
            values[chooser.suggest_int(asked, 0, len(values) - 1)]
            if _ordered(values)
            else chooser.suggest_categorical(asked, list(values))
        )
        if value != _default(step, name):
            found[name] = value
    if spares(step) and worst:
        most = min(MOST_SPARED, len(worst) // 2)
        if number := chooser.suggest_int(f"{step.key}.exclude", 0, most):
            found["exclude"] = list(worst[:number])
    return found


def spares(step: Step) -> bool:
    """Whether a search chooses which layers the step leaves in float; one with aims does so itself."""
    return step.kind == "quantize" and "exclude" in step.options.model_fields and not step.aims


def _ordered(values: Sequence[Any]) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return numbers and len(values) > 2


def _default(step: Step, name: str) -> Any:
    return step.options.model_fields[name].get_default(call_default_factory=True, validated_data={})
