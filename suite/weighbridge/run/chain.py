"""The models along a recipe, each made when somebody asks for it: from memory, from the store, or by its stage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weighbridge.case.model import ModelRef
from weighbridge.contracts import CONVERTERS, FORMATS, STEPS, Model
from weighbridge.core.errors import StageError, WeighbridgeError
from weighbridge.core.results import Artifact, Census, StepRecord
from weighbridge.run.census import check_changed
from weighbridge.run.entries import Entry
from weighbridge.run.keys import (
    data_key,
    extension_code,
    goal_key,
    make_key,
    named_code,
    stage_seed,
    surroundings,
)
from weighbridge.run.plan import Stage, converter_key
from weighbridge.run.workshop import Workshop, seed_everything
from weighbridge.run.zero_groups import check_made

WORTH_KEEPING_S = 0.05
"""A stage that took less is carried out again sooner than its result is read."""


class Chain:
    """One model carried through stages. `models` and `artifact` are made on demand; `key` names the last of them."""

    def __init__(self, shop: Workshop, ref: ModelRef, stages: Sequence[Stage]) -> None:
        self._shop, self._ref, self._stages = shop, ref, tuple(stages)
        loaded = shop.load(ref)
        self._own_file = loaded.file
        self._keys, self._seeds = [loaded.key], [shop.case.seed]
        self._formats = [loaded.format]
        said: list[Any] = []
        for stage in self._stages:
            said.append(_described(stage, unsaid=False))
            # What draws nothing has no seed: its result is the same in every draw of `repeat`, and kept once.
            random = stage.step is not None and STEPS.get(stage.step.key).random
            self._seeds.append(stage_seed(shop.case.seed if random else 0, said))
            self._keys.append(self._next_key(stage))
            self._formats.append(_format_after(stage, self._formats[-1]))

    @property
    def key(self) -> str:
        return self._keys[-1]

    @property
    def keys(self) -> tuple[str, ...]:
        """What the original and the model after each stage are called in the store."""
        return tuple(self._keys)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of the original and of each stage."""
        return tuple(self._seeds)

    @property
    def format(self) -> str:
        """What the last model is."""
        return self._formats[-1]

    @property
    def finished(self) -> bool:
        """Whether the artifact is a file of the user's own."""
        return not self._stages and self._own_file is not None

    def model(self, position: int = -1) -> Model:
        """The model after `position` stages; 0 is the original."""
        position %= len(self._keys)
        key = self._keys[position]
        if key not in self._shop.models:
            self._shop.models[key] = (
                self._stored(position) or self._make(position) if position else self._shop.original(self._ref)
            )
        return self._shop.models[key]

    def input_of(self, number: int) -> Model:
        """The model that step `number` of the recipe takes."""
        positions = [index for index, stage in enumerate(self._stages) if stage.step]
        return self.model(positions[number])

    def output_of(self, number: int) -> Model:
        """The model that step `number` of the recipe gives."""
        positions = [index for index, stage in enumerate(self._stages, 1) if stage.step]
        return self.model(positions[number])

    def artifact(self) -> Artifact:
        """The files that would ship. A finished file is weighed itself, not a copy that this program wrote."""
        if self.finished and self._own_file is not None:
            return self._own_file
        entry = self._shop.store.find(f"model-{self.key}")
        if entry is None:
            model = self.model()
            entry = self._shop.store.find(f"model-{self.key}") or self._keep(self.key, model)
        return self._artifact(entry)

    def records(self) -> tuple[StepRecord, ...]:
        """What each step did; of a step that another run carried out, as it was recorded then."""
        steps = [position for position, stage in enumerate(self._stages, 1) if stage.step is not None]
        return tuple(self._record(position) for position in steps)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was said of the last model."""
        if self.key in self._shop.models:
            return self._shop.models[self.key].notes
        entry = self._shop.store.find(f"model-{self.key}")
        return tuple(entry.facts["notes"]) if entry else self.model().notes

    def _record(self, position: int) -> StepRecord:
        key = self._keys[position]
        entry = self._shop.store.find(f"record-{key}")
        if entry is None:
            with self._shop.store.making(f"model-{key}"):
                if self._shop.store.find(f"record-{key}") is None:  # nobody has in the meantime
                    self._shop.models[key] = self._carry_out(position)
            entry = self._shop.store.find(f"record-{key}")
            assert entry is not None  # carrying out a step keeps its record
        facts = entry.facts
        return StepRecord(
            **{
                **facts,
                "before": Census(**facts["before"]),
                "after": Census(**facts["after"]),
                "notes": tuple(facts["notes"]),
                "cached": key not in self._shop.made,
            }
        )

    def _next_key(self, stage: Stage) -> str:
        shop = self._shop
        splits = STEPS.get(stage.step.key).reads(stage.step.options) if stage.step else ()
        name = stage.step.key if stage.step else converter_key(self._formats[-1], stage.target or "")
        registry: Any = STEPS if stage.step else CONVERTERS
        return make_key(
            self._keys[-1],
            _described(stage),
            self._seeds[-1],
            data_key(shop.data, splits),
            extension_code(registry, name, shop.root),
            named_code(_described(stage), shop.case.folder, shop.root),
            surroundings(),
            *([goal_key(shop.case, shop.root)] if stage.step and STEPS.get(stage.step.key).aims else []),
        )

    def _make(self, position: int) -> Model:
        """The model after `position` stages, which another process may have made in the meantime."""
        with self._shop.store.making(f"model-{self._keys[position]}"):
            return self._stored(position) or self._carry_out(position)

    def _carry_out(self, position: int) -> Model:
        key, stage = self._keys[position], self._stages[position - 1]
        before = self.model(position - 1)
        started = time.monotonic()
        made = self._step(position, before) if stage.step else self._convert(position, before)
        self._shop.made.add(key)
        if position == len(self._stages) or time.monotonic() - started > WORTH_KEEPING_S:
            self._keep(key, made)
        return made

    def _step(self, position: int, before: Model) -> Model:
        shop, key, ref = self._shop, self._keys[position], self._stages[position - 1].step
        assert ref is not None
        step = STEPS.get(ref.key)
        shop.enter(step.kind, str(ref), ref.line)
        counted, started = shop.census(self._keys[position - 1], before), time.monotonic()
        context = shop.context(step.reads(ref.options), self._seeds[position], step.aims)
        if step.compares:
            context = replace(context, original=_whole(self.model(0)))
        seed_everything(self._seeds[position])
        try:
            with shop.store.progress(key) as folder:
                given = before if step.opens else _whole(before)
                made = step.apply(given, ref.options, replace(context, progress=folder))
        except WeighbridgeError:
            raise
        except Exception as error:
            raise StageError(ref.kind, f"{type(error).__name__}: {error}", str(ref)) from error
        after = shop.census(key, made)
        check_changed(step, counted, after, made.coverage)
        if step.zeros and (groups := step.zeros(ref.options)):
            check_made(step, groups, before, made)
        options = ref.options.model_dump(mode="json", exclude_unset=True)
        record = StepRecord(
            ref.key,
            str(ref),
            options,
            time.monotonic() - started,
            counted,
            after,
            tuple(note for note in made.notes if note not in before.notes),
            coverage=made.coverage.to_json()
            if made.coverage and made.coverage is not before.coverage
            else None,
        )
        shop.store.keep(f"record-{key}", vars(record))
        return made

    def _convert(self, position: int, before: Model) -> Model:
        shop, target = self._shop, self._stages[position - 1].target or ""
        shop.enter("export", f"convert to {target}", None)
        seed_everything(self._seeds[position])
        converter = CONVERTERS.get(converter_key(before.format, target))
        return converter.convert(_whole(before), shop.context((), self._seeds[position]))

    def _keep(self, key: str, model: Model) -> Entry:
        """Write `model` to the store."""
        self._shop.enter("save", "save", None)
        facts: dict[str, Any] = {"format": model.format, "notes": model.notes}

        def write(folder: Path) -> None:
            artifact = FORMATS.get(model.format).save(model, folder, "model")
            facts["files"] = [path.relative_to(folder).as_posix() for path in artifact.files]
            facts["path"] = artifact.path.relative_to(folder).as_posix()
            facts["source"] = artifact.source

        return self._shop.store.keep(f"model-{key}", facts, write)

    def _artifact(self, entry: Entry) -> Artifact:
        """The artifact in `entry`; where the user's code lies is this case's affair, not the entry's."""
        facts, source = entry.facts, dict(entry.facts["source"])
        if "folder" in source:
            source |= {"folder": str(self._shop.case.folder), "reference": self._ref.reference}
        files = tuple(entry.folder / name for name in facts["files"])
        return Artifact(facts["format"], entry.folder / facts["path"], files, source)

    def _stored(self, position: int) -> Model | None:
        """The model after `position` stages as the store has it; None where it has none, or one that does not open.

        A step of the user's that changes a module's layers and brings no `rebuild` leaves such a one: the models after
        it may be sound all the same, so it is made again and not complained of.
        """
        entry = self._shop.store.find(f"model-{self._keys[position]}")
        if entry is None:
            return None
        try:
            model = FORMATS.get(entry.facts["format"]).open(self._artifact(entry))
        except StageError:
            return None
        return replace(model, notes=tuple(entry.facts["notes"]))


def _whole(model: Model) -> Model:
    return FORMATS.get(model.format).whole(model)


def _described(stage: Stage, unsaid: bool = True) -> list[Any]:
    """A stage as JSON data: what it is called, and its options; without the `unsaid` ones, those that the case states."""
    if stage.step is None:
        return ["convert", stage.target]
    return [stage.step.key, stage.step.options.model_dump(mode="json", exclude_unset=not unsaid)]


def _format_after(stage: Stage, before: str) -> str:
    if stage.step is None:
        return stage.target or before
    return STEPS.get(stage.step.key).returns or before
