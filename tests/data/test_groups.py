"""`groups:` names the samples that belong together, wherever people keep it, and is no input of the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weighbridge.contracts import Array, Inputs
from weighbridge.core.batches import items
from weighbridge.core.data import Data, Layout, load_data
from weighbridge.core.errors import StageError
from weighbridge.measure.evaluation import Evaluation, evaluate
from weighbridge.measure.metrics import METRICS

N = 30
X = np.random.default_rng(0).standard_normal((N, 4)).astype(np.float32)
Y = X.argmax(1)
PHOTO = np.array([f"photo {index // 5}" for index in range(N)])
PARTS = [slice(start, start + 7) for start in range(0, N, 7)]


class Session:
    """Gives its one input back."""

    def run(self, inputs: Inputs) -> tuple[Array, ...]:
        ((_, array, _),) = items(inputs)
        return (array,)

    def bind(self, inputs: Inputs) -> Any: ...


def samples(form: Callable[[int], Any]) -> Any:
    class Dataset:
        def __len__(self) -> int:
            return N

        def __getitem__(self, index: int) -> Any:
            return form(index)

    return Dataset()


FORMS = {
    "a mapping": ("photo", None, {"x": X, "labels": Y, "photo": PHOTO}),
    "a tuple": (2, None, (X, Y, PHOTO)),
    "a tuple, in front": (0, None, (PHOTO, X, Y)),
    "a tuple with named targets": (1, 2, (X, PHOTO, Y)),
    "batches of mappings": ("photo", None, [{"x": X[p], "y": Y[p], "photo": PHOTO[p]} for p in PARTS]),
    "batches of tuples": (2, None, [(X[p], Y[p], PHOTO[p]) for p in PARTS]),
    "samples": (2, None, samples(lambda index: (X[index], Y[index], PHOTO[index]))),
    "samples of mappings": (
        "photo",
        None,
        samples(lambda index: {"x": X[index], "y": int(Y[index]), "photo": PHOTO[index]}),
    ),
    "a mapping beside its targets": ("photo", None, [({"x": X[p], "photo": PHOTO[p]}, Y[p]) for p in PARTS]),
    "a function that gives a generator": (2, None, lambda: ((X[p], Y[p], PHOTO[p]) for p in PARTS)),
}


def evaluated(value: Any, groups: Any, targets: Any = None) -> Evaluation:
    data = Data({"test": value}, layout=Layout(targets, groups=groups))
    found = evaluate({"candidate": Session()}, data.split("test"), METRICS.get("accuracy"))["candidate"]
    assert found.digest == data.split("test").digest()
    return found


@pytest.mark.parametrize("form", FORMS)
def test_groups_are_read_where_people_keep_them(form: str) -> None:
    groups, targets, value = FORMS[form]
    found = evaluated(value, groups, targets)
    assert found.groups is not None
    assert found.groups.tolist() == PHOTO.tolist()
    assert found.value(METRICS.get("accuracy")) == 1.0


@pytest.mark.parametrize(
    "keys", [("x", "y", "photo"), ("test_x", "test_y", "test_photo"), ("state", "y", "photo")]
)
def test_groups_of_an_npz_are_a_column(tmp_path: Path, keys: tuple[str, str, str]) -> None:
    np.savez(tmp_path / "samples.npz", **dict(zip(keys, (X, Y, PHOTO), strict=True)))
    data = load_data("samples.npz", tmp_path, layout=Layout(groups="photo"))
    found = evaluate({"candidate": Session()}, data.split("test"), METRICS.get("accuracy"))["candidate"]
    assert found.groups is not None
    assert found.groups.tolist() == PHOTO.tolist()


def test_other_splits_need_no_groups() -> None:
    data = Data({"test": (X, Y, PHOTO), "calibration": (X, Y), "train": X}, layout=Layout(groups=2))
    assert [array.shape for array in data.split("calibration").first(3)] == [(3, 4)]  # type: ignore[union-attr]
    assert data.split("train").arrays()[1] is None


def test_groups_are_part_of_what_was_evaluated(tmp_path: Path) -> None:
    found = evaluated((X, Y, PHOTO), 2)
    assert found.digest != evaluated((X, Y, PHOTO[::-1].copy()), 2).digest
    found.save(tmp_path)
    kept = Evaluation.load(tmp_path)
    assert kept.groups is not None
    assert kept.groups.tolist() == PHOTO.tolist()


@pytest.mark.parametrize(
    ("value", "groups", "said"),
    [
        ({"x": X, "y": Y}, "photo", "has no such key"),
        ((X, Y), 2, "has no such position"),
        ((X, Y, PHOTO[:-1]), 2, "the groups 29"),
        ((X, Y, X), 2, "one name or number a sample"),
    ],
)
def test_groups_that_are_none_are_refused(value: Any, groups: Any, said: str) -> None:
    with pytest.raises(StageError, match=said):
        evaluated(value, groups)
