"""Which samples a search judges its trials on: others than the verdict is given on, where the data has such."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from weighbridge.case.model import Case
from weighbridge.contracts import MEASURES, THRESHOLDS, Model
from weighbridge.core.data import TRAIN, Data, Split
from weighbridge.run.inputs import make_data, undecidable

VALIDATION, CALIBRATION, TEST = "validation", "calibration", "test"
FEW = 64
"""Samples that tell a hopeless trial."""
WORTH = 4
"""Times as many has a split of which a few are looked at first."""


@dataclass(frozen=True)
class Tuning:
    """The split that trials are judged on, with how many samples; None where only reading tells, or they are drawn."""

    split: str
    samples: int | None
    why_test: str = ""
    """Why it is the test split, in words."""
    few: int | None = None
    """How many samples of it are looked at first; None where that saves nothing."""
    notes: tuple[str, ...] = ()

    def of(self, case: Case, samples: int | None = None) -> Case:
        """The case, judged on these samples, or on about so many of them."""
        return replace(case, judged_on=self.split, judged_samples=samples)

    def __str__(self) -> str:
        if self.why_test:
            return f"chosen on the test split itself, since {self.why_test}"
        count = "" if self.samples is None else f"{self.samples} samples of "
        return f"chosen on {count}the split '{self.split}'"


def splits_of(case: Case, root: Path) -> Data | None:
    """The case's data; None where samples are drawn. Raises `StageError` where it cannot be read."""
    return make_data(case, root, _no_model) if case.data is not None else None


def _no_model() -> Model:
    raise AssertionError("data that is named asks no model")


def tuning_of(case: Case, data: Data | None, trains: bool) -> Tuning:
    """`validation` where the data has it, else `calibration`, on which `quantize: auto` judges as well, else the test split.

    What is trained on cannot judge: `trains` tells whether a recipe may train. Raises `StageError` for a split that cannot
    be read.
    """
    if data is None:
        return Tuning(TEST, None, "its inputs are random, of which one is like the other")
    reasons = []
    for name in (VALIDATION, CALIBRATION):
        why = _unfit(case, data, name, trains)
        if why is None:
            return _tuning(case, data, name)
        reasons.append(why)
    return _tuning(case, data, TEST, " and ".join(reasons))


def _tuning(case: Case, data: Data, name: str, why_test: str = "") -> Tuning:
    split, judged = data.split(name), data.judged_on(name, None)
    worth = (split.length or 0) >= WORTH * FEW and split.spread(FEW) is not split
    notes = [f"{ref.name}: {text}" for ref, text in undecidable(case, case.thresholds, judged)]
    return Tuning(name, split.length, why_test, FEW if worth else None, tuple(notes))


def _unfit(case: Case, data: Data, name: str, trains: bool) -> str | None:
    """Why trials cannot be judged on the split, in words; None where they can."""
    own = name in data.splits
    if not own and (name == VALIDATION or TRAIN not in data.splits):
        return f"the data has no split '{name}'"
    if not own and trains:
        return f"it has no '{name}' beside the split that recipes train on"
    split = data.split(name)
    if _judges_answers(case) and next(iter(split.batches()))[1] is None:
        return f"the split '{name}' has no targets"
    if trains and TRAIN in data.splits and (shared := _shared(split, data.split(TRAIN))):
        return f"{shared} samples of the split '{name}' are trained on"
    return None


def _judges_answers(case: Case) -> bool:
    return any("metric" in MEASURES.get(THRESHOLDS.get(ref.name).measure).needs for ref in case.thresholds)


def _shared(split: Split, train: Split) -> int:
    """How many samples stand in both; of a training split that is drawn anew each time, that is not known."""
    return int(np.isin(split.scan().rows(), train.scan().rows()).sum()) if train.steady else 0
