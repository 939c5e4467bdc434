"""The models along a recipe, each made when somebody asks for it: from memory, from the store, or by its stage."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from weighbridge.case.model import Case, ModelRef
from weighbridge.contracts import CONVERTERS, FORMATS, STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError, WeighbridgeError
from weighbridge.core.observed import files_opened
from weighbridge.core.results import Artifact, Census, StepRecord
from weighbridge.formats.finished import finished_file
from weighbridge.formats.opened import keep_opened
from weighbridge.measure.metrics import find_metric
from weighbridge.run.census import check_changed, take_census
from weighbridge.run.inputs import make_data
from weighbridge.run.keys import (
    data_key,
    extension_code,
    file_key,
    goal_key,
    make_key,
    model_key,
    named_code,
    reference_code,
    stage_seed,
    surroundings,
)
from weighbridge.run.plan import Stage, converter_key
from weighbridge.run.store import Entry, Store, file_digest, shown
from weighbridge.run.zero_groups import check_made

WORTH_KEEPING_S = 0.05
"""A stage that took less is carried out again sooner than its result is read."""
Enter = Callable[[str, str, int | None], None]
"""Takes the stage, a text for people, and the line of the case file."""


@dataclass(frozen=True)
class Loaded:
    """A model that a case names, the finished file that it is (None where code builds it), and its key."""

    model: Model
    file: Artifact | None
    key: str
    read: Mapping[str, str]
    """SHA-256 of the files that it is made of, code apart, by their paths in the project."""


@dataclass
class Workshop:
    """What the chains of one case share: its data, the store, and the models made so far."""

    case: Case
    store: Store
    root: Path
    workdir: Path
    enter: Enter
    say: Callable[[str], None]
    timing: Callable[[], AbstractContextManager[None]] = nullcontext
    """Inside what it gives, this case alone has the machine."""
    models: dict[str, Model] = field(default_factory=dict)
    censuses: dict[str, Census] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    """The keys of the stages that were carried out here."""
    draw: int = 0
    _loaded: dict[ModelRef, Loaded] = field(default_factory=dict)
    _data: Data | None = None

    @property
    def data(self) -> Data:
        if self._data is None:
            self.enter("data", "data", None)
            seed_everything(self.case.seed)
            self._data = make_data(self.case, self.root, lambda: self.load(self.case.model).model)
        return self._data

    def drawn(self, draw: int) -> Workshop:
        """The workshop of another draw of `repeat`: the same data and originals, another seed."""
        case = replace(self.case, seed=self.case.seed + draw)
        return replace(self, case=case, draw=draw, models={}, made=set(), _data=self.data)

    def load(self, ref: ModelRef) -> Loaded:
        """The model that the case names; each is loaded once."""
        if ref not in self._loaded:
            self.enter("load", "load", ref.line)
            seed_everything(self.case.seed)
            self._loaded[ref] = _load(ref, self.case.folder, self.root)
        return self._loaded[ref]

    def context(self, splits: Sequence[str], seed: int, aims: bool = False) -> Context:
        case, data = self.case, self.data.restricted(tuple(splits))
        self.workdir.mkdir(exist_ok=True)
        if not aims:
            return Context(case.folder, self.workdir, seed, data, self.say, self.draw)
        # What holds it to an earlier run is no aim for a step that compares with the original.
        limits = {ref.name: ref.limit for ref in case.thresholds if not ref.limit.earlier}
        metric = find_metric(case.metric, case.folder)
        return Context(case.folder, self.workdir, seed, data, self.say, self.draw, metric, limits)

    def census(self, key: str, model: Model) -> Census:
        if key not in self.censuses:
            self.censuses[key] = take_census(model)
        return self.censuses[key]


class Chain:
    """One model carried through stages. `models` and `artifact` are made on demand; `key` names the last of them."""

    def __init__(self, shop: Workshop, ref: ModelRef, stages: Sequence[Stage]) -> None:
        self._shop, self._ref, self._stages = shop, ref, tuple(stages)
        loaded = shop.load(ref)
        self._own_file = loaded.file
        self._keys, self._seeds = [loaded.key], [shop.case.seed]
        self._formats = [loaded.model.format]
        shop.models[loaded.key] = loaded.model
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
            self._shop.models[key] = self._stored(position) or self._make(position)
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
        splits = STEPS.get(stage.step.key).splits if stage.step else ()
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
        seed_everything(self._seeds[position])
        context = shop.context(step.splits, self._seeds[position], step.aims)
        if step.compares:
            context = replace(context, original=_whole(self.model(0)))
        try:
            with shop.store.progress(key) as folder:
                made = step.apply(_whole(before), ref.options, replace(context, progress=folder))
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


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and, where it is loaded, torch: what a stage draws does not depend on the stage before."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    if (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():  # `torch.manual_seed` keeps a stack trace a call until it is
            torch.cuda.manual_seed_all(seed)


def _whole(model: Model) -> Model:
    return FORMATS.get(model.format).whole(model)


def _load(ref: ModelRef, folder: Path, root: Path) -> Loaded:
    with files_opened() as opened:
        model = FORMATS.get(ref.format).load(
            ref.reference, folder / ref.weights if ref.weights else None, folder
        )
    own_file = finished_file(model, folder / ref.reference)
    if own_file is not None:
        keep_opened(own_file, model)
        digests = {path: file_digest(path) for path in own_file.files}
        read = {shown(path.resolve(), root): digest for path, digest in digests.items()}
        return Loaded(model, own_file, file_key(digests), read)
    code, read = reference_code(ref.reference, folder, root), _project_files(opened, root)
    return Loaded(model, None, model_key(model, code, read), read)


def _project_files(opened: set[str], root: Path) -> dict[str, str]:
    """The data among the files that were opened: those of the project that are no code and no result."""
    found = {}
    data = (name for name in opened if not name.endswith((".py", ".pyc")))
    for path in sorted(Path(name).resolve() for name in data):
        if not path.is_relative_to(root):
            continue
        inside = path.relative_to(root)
        hidden = any(part.startswith(".") for part in inside.parts)
        if not hidden and path.is_file():
            found[inside.as_posix()] = file_digest(path)
    return found


def _described(stage: Stage, unsaid: bool = True) -> list[Any]:
    """A stage as JSON data: what it is called, and its options; without the `unsaid` ones, those that the case states."""
    if stage.step is None:
        return ["convert", stage.target]
    return [stage.step.key, stage.step.options.model_dump(mode="json", exclude_unset=not unsaid)]


def _format_after(stage: Stage, before: str) -> str:
    if stage.step is None:
        return stage.target or before
    return STEPS.get(stage.step.key).returns or before
