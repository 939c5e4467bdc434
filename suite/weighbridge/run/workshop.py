"""What the models of one case are made of and with: its data, its seeds, the store, and the models that it names."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from weighbridge.case.model import Case, ModelRef
from weighbridge.contracts import FORMATS, Context, Model
from weighbridge.core.code import content_digest, place_in_project
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.files import WEIGHTS, file_digest, shown, stamp
from weighbridge.core.observed import files_opened
from weighbridge.core.results import Artifact, Census
from weighbridge.formats.finished import finished_file
from weighbridge.formats.opened import keep_opened
from weighbridge.measure.metrics import find_metric
from weighbridge.run.census import take_census
from weighbridge.run.inputs import make_data
from weighbridge.run.keys import file_key, model_key, reference_code
from weighbridge.run.recent import identity_of
from weighbridge.run.store import Store

Enter = Callable[[str, str, int | None], None]
"""Takes the stage, a text for people, and the line of the case file."""


@dataclass(frozen=True)
class Loaded:
    """What a model that a case names is: its format, the finished file (None where code builds it), and its key."""

    format: str
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
    _originals: dict[ModelRef, Model] = field(default_factory=dict)
    _data: Data | None = None

    @property
    def data(self) -> Data:
        if self._data is None:
            self.enter("data", "data", None)
            seed_everything(self.case.seed)
            self._data = make_data(self.case, self.root, lambda: self.original(self.case.model))
        return self._data

    def drawn(self, draw: int) -> Workshop:
        """The workshop of another draw of `repeat`: the same data and originals, another seed."""
        case = replace(self.case, seed=self.case.seed + draw)
        return replace(self, case=case, draw=draw, models={}, made=set(), _data=self.data)

    def load(self, ref: ModelRef) -> Loaded:
        """What the model is that the case names. Where the cases before named it too, it is not built for that."""
        if ref not in self._loaded:
            self.enter("load", "load", ref.line)
            build = partial(self._build, ref)
            of_file = (self.case.folder / ref.reference).is_file()
            self._loaded[ref] = build() if of_file else identity_of(self._asked(ref), build)
        return self._loaded[ref]

    def original(self, ref: ModelRef) -> Model:
        """The model itself. Raises `StageError` where its callable gives another one than for the cases before."""
        known = self.load(ref)
        if ref not in self._originals and self._build(ref) != known:
            del self._originals[ref]
            raise StageError("load", f"{ref.reference} gives another model at some calls than at others")
        return self._originals[ref]

    def _asked(self, ref: ModelRef) -> tuple[Any, ...]:
        """What a model that code builds depends on, but for the files that Python reads on the way."""
        folder = self.case.folder
        code = reference_code(ref.reference, folder, self.root)
        return ref.format, ref.reference, ref.weights, folder, self._seed, _weights(folder, ref.weights), code

    @property
    def _seed(self) -> int:
        """Of the originals: every draw of `repeat` has the same."""
        return self.case.seed - self.draw

    def _build(self, ref: ModelRef) -> Loaded:
        seed_everything(self._seed)
        loaded, self._originals[ref] = _load(ref, self.case.folder, self.root)
        return loaded

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


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and, where it is loaded, torch: what a stage draws does not depend on the stage before."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    if (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():  # `torch.manual_seed` keeps a stack trace a call until it is
            torch.cuda.manual_seed_all(seed)


def _weights(folder: Path, stated: str | None) -> tuple[tuple[str, tuple[int, int, int]], ...]:
    """The files of weights beside a case, and the one that it states, as they are now: what native code reads is not seen."""
    paths = {path for path in folder.iterdir() if path.suffix in WEIGHTS}
    found = []
    for path in sorted({*paths, folder / stated} if stated else paths):
        with contextlib.suppress(OSError):  # whoever loads it says that it is not there
            found.append((str(path), stamp(path)))
    return tuple(found)


def _load(ref: ModelRef, folder: Path, root: Path) -> tuple[Loaded, Model]:
    with files_opened() as opened:
        model = FORMATS.get(ref.format).load(
            ref.reference, folder / ref.weights if ref.weights else None, folder
        )
    own_file = finished_file(model, folder / ref.reference)
    if own_file is not None:
        keep_opened(own_file, model)
        digests = {path: file_digest(path) for path in own_file.files}
        read = {shown(path.resolve(), root): digest for path, digest in digests.items()}
        return Loaded(model.format, own_file, file_key(digests), read), model
    code, read = reference_code(ref.reference, folder, root), project_files(opened, root)
    return Loaded(model.format, None, model_key(model, code, read), read), model


def project_files(opened: set[str], root: Path) -> dict[str, str]:
    """The data among the files that were opened: those of the project that are no code and no result."""
    found = {}
    data = (name for name in opened if not name.endswith((".py", ".pyc")))
    for path in sorted(Path(name) for name in data):
        inside = place_in_project(path, root)
        if inside is None or any(part.startswith(".") for part in inside.parts) or not path.is_file():
            continue
        found[inside.as_posix()] = content_digest(path)
    return found
