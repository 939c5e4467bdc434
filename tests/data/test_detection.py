"""Boxes, of which each picture has another number: the forms that loaders give them in, and metrics of all pictures at once."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from weighbridge.core import resampling
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.measure import accuracy, accuracy_resampled
from weighbridge.measure.by_torchmetrics import as_torchmetric, faults_of
from weighbridge.measure.evaluation import Evaluation, evaluate
from weighbridge.measure.metrics import UserMetric

RANDOM = np.random.default_rng(0)
BOXES = [0, 2, 1, 3, 3, 1, 2, 4, 1, 2, 2, 3]
IMAGES = RANDOM.random((len(BOXES), 3, 6, 8)).astype(np.float32)
SAMPLES = [
    (torch.tensor(image), {"boxes": torch.full((k, 4), k + at / 10), "labels": torch.arange(k)})
    for at, (image, k) in enumerate(zip(IMAGES, BOXES, strict=True))
]


class Pictures(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return len(SAMPLES)

    def __getitem__(self, i: int) -> Any:
        return SAMPLES[i]


def collated(batch: Any) -> Any:
    return tuple(zip(*batch, strict=True))


def batches_by_name() -> list[Any]:
    return [
        {"image": torch.stack(images), "labels": list(targets)}
        for images, targets in (collated(SAMPLES[at : at + 5]) for at in (0, 5, 10))
    ]


ALL_IMAGES, ALL_TARGETS = collated(SAMPLES)
FORMS = {
    "pictures": Pictures(),
    "loader": torch.utils.data.DataLoader(Pictures(), 5, collate_fn=collated),
    "as many pictures in a batch as channels": torch.utils.data.DataLoader(
        Pictures(), 3, collate_fn=collated
    ),
    "stacked": (torch.stack(ALL_IMAGES), list(ALL_TARGETS)),
    "in tuples": (ALL_IMAGES, ALL_TARGETS),
    "by name": {"image": torch.stack(ALL_IMAGES), "labels": list(ALL_TARGETS)},
    "batches by name": batches_by_name(),
}


class Found:
    """As many boxes as `BOXES` says of the picture, the first number of which is its own."""

    def run(self, inputs: Any) -> Any:
        (image,) = inputs.values() if isinstance(inputs, dict) else inputs
        at = [int(np.argmin(np.abs(IMAGES - each).sum((1, 2, 3)))) for each in image]
        return (np.full((len(image), BOXES[at[0]], 4), np.array(at)[:, None, None], np.float32),)

    def bind(self, inputs: Any) -> Any: ...


def all_pictures(outputs: Any, targets: Any) -> float:
    """The share of all boxes, of all pictures together, that belong to the picture's own."""
    right = [
        len(found) == len(wanted["labels"]) and np.allclose(wanted["boxes"], len(found) + found / 10)
        for found, wanted in zip(outputs, targets, strict=True)
        for _ in range(1 + len(wanted["labels"]))
    ]
    for each in outputs:
        each -= 1  # as one that turns corners into sizes does
    return float(np.mean(right))


@pytest.mark.parametrize("form", FORMS)
def test_a_metric_of_all_pictures_reads_each_by_itself(form: str, tmp_path: Path) -> None:
    split = Data({"test": FORMS[form]}).split("test")
    metric = UserMetric("all_pictures", all_pictures)
    found = evaluate({"candidate": Found()}, split, metric)["candidate"]
    assert found.n == len(SAMPLES)
    for _ in range(2):  # what a metric writes into is its own
        assert found.value(metric) == 1
    found.save(tmp_path)
    kept = Evaluation.load(tmp_path)
    assert kept.over(metric, np.array([3, 0, 3, 7])) == found.over(metric, np.array([3, 0, 3, 7])) == 1


def test_a_metric_that_expects_arrays_is_told_of_the_lists() -> None:
    metric = UserMetric("corners", lambda outputs, targets: float((outputs - targets["boxes"]).mean()))
    found = evaluate({"candidate": Found()}, Data({"test": Pictures()}).split("test"), metric)["candidate"]
    with pytest.raises(StageError, match=r"TypeError.*differ in shape, so that it is given lists"):
        found.value(metric)


def test_all_forms_are_the_same_samples() -> None:
    digests = {
        Data({"test": value}).split("test").digest() for name, value in FORMS.items() if "name" not in name
    }
    assert len(digests) == 1


def test_targets_in_a_list_have_one_a_sample() -> None:
    value = (torch.stack(ALL_IMAGES), list(ALL_TARGETS)[:-1])
    with pytest.raises(StageError, match="a list of 11 mappings, one a sample, and input 0 has 12 in a row"):
        list(Data({"test": value}).split("test").batches())


class Precision:
    """A metric after torchmetrics' manner that gives several figures, -1 where there is none, as its average precision does."""

    higher_is_better, plot_lower_bound = True, 0.0
    _reductions, _defaults = {"found": None}, {"found": []}

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def update(self, found: Any, wanted: Any) -> None:
        assert len({each.shape for each in found}) == 1, "torchmetrics takes batches"
        self.seen += [float(len(a) == len(b["labels"])) for a, b in zip(found, wanted, strict=True)]

    def compute(self) -> Any:
        right = torch.tensor(self.seen).mean()
        return {"map": right, "map_large": torch.tensor(-1.0), "map_per_class": torch.ones(3)}


def precision(value: str | None) -> Any:
    return as_torchmetric("Precision", Precision, prepare=lambda *both: tuple(map(list, both)), value=value)


def test_a_metric_of_several_figures_names_the_one_that_is_judged() -> None:
    split = Data({"test": Pictures()}).split("test")
    found = evaluate({"candidate": Found()}, split, precision("map"))["candidate"]
    assert found.value(precision("map")) == 1
    assert np.isnan(found.value(precision("map_large"))), (
        "no large object: -1 for both models would be a drop of 0"
    )
    for value, said in [
        (None, "gives several figures; say which is judged, such as `value: map`, of map, map_large"),
        ("mapp", "gives no figure 'mapp'; did you mean 'map'"),
        ("map_per_class", "gives no single number"),
    ]:
        with pytest.raises(StageError, match=said):
            found.value(precision(value))
    assert faults_of({"torchmetrics": "MeanAveragePrecision", "value": 3})[-1][0] == "value"


def test_targets_by_name_want_to_be_prepared() -> None:
    metric = as_torchmetric("AP", Precision)
    found = evaluate({"candidate": Found()}, Data({"test": Pictures()}).split("test"), metric)["candidate"]
    with pytest.raises(StageError, match=r"boxes, labels.*`prepare: file.py:function`"):
        found.value(metric)


def test_a_metric_of_one_figure_has_none_to_name() -> None:
    single = SimpleNamespace(compute=lambda: torch.tensor(0.5))
    with pytest.raises(StageError, match="gives one figure, not several by name; leave out `value: map`"):
        precision("map")._number(single)


class Clock:
    """Each look at it is so many seconds later."""

    def __init__(self, step: float) -> None:
        self._times = count(0, step)

    def perf_counter(self) -> float:
        return float(next(self._times))


def known(monkeypatch: pytest.MonkeyPatch, step: float) -> dict[str, Any]:
    monkeypatch.setattr(accuracy_resampled, "time", Clock(step))
    monkeypatch.setattr(accuracy, "_overflows", lambda weighing: False)
    right = np.tile(np.arange(10) > 0, 30).astype(float)
    side = Evaluation(len(right), "", outputs=(right,), targets=right)
    weighing: Any = SimpleNamespace(allow_chance=False)
    metric = UserMetric("smooth", lambda outputs, targets: float(outputs.mean()))
    return accuracy.compare(metric, side, None, weighing).details


def test_a_slow_metric_is_as_sure_as_the_resamples_that_time_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, slow = known(monkeypatch, 0.0), known(monkeypatch, 0.3)
    assert "resamples" not in fast
    assert accuracy_resampled.FEWEST < slow["resamples"] < resampling.COMPUTED
    (low, high), (lower, higher) = (
        resampling.interval(each["candidate_quantiles"], 0.95) for each in (fast, slow)
    )
    assert low < 0.9 < high
    assert lower < 0.9 < higher
    assert 0.7 < (higher - lower) / (high - low) < 1.5


def test_one_that_takes_seconds_says_that_nothing_tells_how_sure_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    details = known(monkeypatch, 5.0)
    assert (details["slow"], "candidate_quantiles" in details) == (5.0, False)
