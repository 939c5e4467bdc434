"""Several targets a sample by name, as a model of several tasks has them: each form of data, each that reads targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.projects import weigh

from weighbridge.core.data import Data, Layout, load_data
from weighbridge.core.errors import StageError
from weighbridge.measure.evaluation import evaluate
from weighbridge.measure.metrics import METRICS, UserMetric

X = np.random.default_rng(0).standard_normal((150, 6)).astype(np.float32)
Y = {"kind": (X[:, 0] > 0).astype("int64"), "age": X[:, 1] * 10}
BOTH = Layout(targets=("kind", "age"))


class Pairs(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> Any:
        return X[i], {name: column[i] for name, column in Y.items()}


class Rows(Pairs):
    def __getitem__(self, i: int) -> Any:
        return {"x": X[i], "labels": {name: column[i] for name, column in Y.items()}}


def halves() -> list[Any]:
    return [
        (X[rows], {name: column[rows] for name, column in Y.items()}) for rows in (slice(70), slice(70, 150))
    ]


FORMS = {
    "arrays": ((X, Y), Layout()),
    "inputs by name": (({"x": X}, Y), Layout()),
    "inputs in a tuple": (((X,), Y), Layout()),
    "tuple of batches": (tuple(halves()), Layout()),
    "tuple of batches by name": (tuple({"x": x, **y} for x, y in halves()), BOTH),
    "pairs": (Pairs(), Layout()),
    "rows": (Rows(), Layout()),
    "loader": (torch.utils.data.DataLoader(Pairs(), 32), Layout()),
    "list of samples": ([Pairs()[i] for i in range(150)], Layout()),
    "list of batches": (halves(), Layout()),
    "columns": ({"x": X, **Y}, BOTH),
    "list of flat samples": (
        [{"x": X[i], "kind": Y["kind"][i], "age": Y["age"][i]} for i in range(150)],
        BOTH,
    ),
}


class First:
    """What it was given, in two outputs."""

    def run(self, inputs: Any) -> Any:
        x = inputs["x"] if isinstance(inputs, dict) else inputs[0]
        assert len(inputs) == 1
        return np.stack([-x[:, 0], x[:, 0]], 1), x[:, 1] * 10

    def bind(self, inputs: Any) -> Any: ...


def both(outputs: Any, targets: Any) -> Any:
    assert set(targets.dtype.names) == {"kind", "age"}
    return (outputs[0].argmax(1) == targets["kind"]) & np.isclose(outputs[1], targets["age"])


@pytest.mark.parametrize("form", FORMS)
def test_a_metric_of_the_users_own_reads_each_by_its_name(form: str) -> None:
    value, layout = FORMS[form]
    split = Data({"test": value}, layout=layout).split("test")
    found = evaluate({"candidate": First()}, split, UserMetric("both", both))["candidate"]
    assert (found.n, found.scores is not None and found.scores.mean()) == (150, 1)


@pytest.mark.parametrize("name", ["x", "image"])
def test_an_npz_names_several(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "samples.npz", **{name: X, **Y})
    split = load_data("samples.npz", tmp_path, layout=BOTH).split("test")
    inputs, targets = split.arrays()
    assert isinstance(inputs, tuple if name == "x" else dict)
    assert targets is not None
    np.testing.assert_array_equal(targets["age"], Y["age"])


def test_boxes_as_many_as_a_picture_has() -> None:
    """A detector's: as samples of several lengths, those with as many stand in one batch."""
    rows = [(X[i], {"boxes": np.full((1 + i // 3 % 2, 4), i), "sizes": np.arange(2)}) for i in range(12)]
    split = Data({"test": rows}).split("test")
    assert [len(targets) for _, targets in split.batches() if targets is not None] == [3, 3, 3, 3]

    def number(outputs: Any, targets: Any) -> Any:
        return targets["boxes"].shape[1] + np.zeros(len(targets))

    found = evaluate({"candidate": First()}, split, UserMetric("number", number))["candidate"]
    assert found.scores is not None
    assert found.scores.tolist() == [1, 1, 1, 2, 2, 2] * 2


@pytest.mark.parametrize("changed", ["kind", "age"])
def test_the_digest_is_of_each(changed: str) -> None:
    other = {**Y, changed: Y[changed][::-1].copy()}
    assert Data({"test": (X, Y)}).split("test").digest() != Data({"test": (X, other)}).split("test").digest()


@pytest.mark.parametrize("metric", ["mse", "accuracy"])
def test_a_metric_of_one_target_says_how_to_read_several(metric: str) -> None:
    with pytest.raises(StageError, match=r"gives 2 by name: kind, age; write your own.*targets\['kind'\]"):
        evaluate({"candidate": First()}, Data({"test": (X, Y)}).split("test"), METRICS.get(metric))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ((X, {"kind": Y["kind"], "age": Y["age"][:9]}), r"'kind' \[150\], 'age' \[9\]"),
        (
            (X, {"kind": Y["kind"], "age": {"years": Y["age"]}}),
            "the targets' age should be an array, not a dict",
        ),
        ((X, {}), "an empty mapping"),
        ({"x": X, "kind": Y["kind"]}, "no targets 'age'"),
    ],
)
def test_a_mistake_is_named(value: Any, said: str) -> None:
    layout = BOTH if isinstance(value, dict) else Layout()
    with pytest.raises(StageError, match=said):
        list(Data({"test": value}, layout=layout).split("test").batches())


CODE = """
import numpy as np
import torch


class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.kind, self.age = torch.nn.Linear(6, 64), torch.nn.Linear(64, 2), torch.nn.Linear(64, 1)

    def forward(self, x):
        h = torch.relu(self.body(x))
        return {"kind": self.kind(h), "age": self.age(h).squeeze(-1)}


def splits():
    x = np.random.default_rng(0).standard_normal((400, 6)).astype("float32")
    rows = {"x": x, "kind": (x[:, 0] > 0).astype("int64"), "age": x[:, 1]}
    return {"train": {k: v[:200] for k, v in rows.items()}, "test": {k: v[200:] for k, v in rows.items()}}


def loss(outputs, targets):
    of = torch.nn.functional
    return of.cross_entropy(outputs["kind"], targets["kind"]) + of.mse_loss(outputs["age"], targets["age"])


def right(outputs, targets):
    return (outputs[0].argmax(1) == targets["kind"]) & (np.abs(outputs[1] - targets["age"]) < 0.5)
"""


def test_a_loss_of_the_users_own_trains_on_them(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(CODE)
    found = weigh(
        tmp_path,
        "model: {torch: model.py:Two}\ndata: model.py:splits\ntargets: [kind, age]\nmetric: model.py:right\n"
        "recipe: [{finetune: supervised, loss: 'model.py:loss', epochs: 20, lr: 0.01}]\nthresholds: {accuracy: 0.9}\n",
    )
    accuracy = found.measurements["accuracy"]
    assert accuracy.baseline < 0.6
    assert accuracy.candidate > 0.9
