"""One pass, scores kept and outputs let go."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from weighbridge.contracts import Array, Inputs
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.measure.evaluation import Evaluation, evaluate
from weighbridge.measure.metrics import METRICS, UserMetric
from weighbridge.measure.tallies import AbsoluteTally, ClassTally, SquareTally

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((150, 6)).astype(np.float32)
Y = X.argmax(1)


class Scaled:
    """The inputs times a factor; counts its calls."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.calls = factor, 0

    def run(self, inputs: Inputs) -> tuple[Array, ...]:
        self.calls += 1
        assert isinstance(inputs, tuple)
        return (inputs[0] * self.factor,)

    def bind(self, inputs: Inputs) -> Any: ...


def run(metric: Any, x: Array = X, y: Array = Y, **sessions: Any) -> Any:
    sessions = sessions or {"candidate": Scaled()}
    return evaluate(sessions, Data({"test": (x, y)}).split("test"), metric)


def test_every_session_sees_every_batch_of_one_reading() -> None:
    readings = []

    class Loader:
        def __iter__(self) -> Any:
            readings.append(1)
            rows = np.random.default_rng(len(readings)).permutation(150)
            return iter([(X[part], Y[part]) for part in np.array_split(rows, 4)])

    sessions = {"baseline": Scaled(), "candidate": Scaled(-1)}
    found = evaluate(sessions, Data({"test": Loader()}).split("test"), METRICS.get("accuracy"))
    assert len(readings) == 1
    assert [session.calls for session in sessions.values()] == [6, 6], "and a few samples twice more"
    assert found["baseline"].scores.mean() == 1
    assert found["candidate"].scores.mean() == 0
    assert found["baseline"].digest == found["candidate"].digest


@pytest.mark.parametrize("name", ["accuracy", "top5", "mse", "mae"])
def test_outputs_are_let_go_where_scores_are_enough(name: str) -> None:
    targets = Y if name in ("accuracy", "top5") else X * 2
    found = run(METRICS.get(name), y=targets)["candidate"]
    assert found.outputs is None
    assert found.scores.shape == (150,)
    assert found.value(METRICS.get(name)) == pytest.approx(METRICS.get(name).whole((X,), targets))


def test_classes_by_large_numbers_are_told_apart() -> None:
    """As a model names them itself; two that differ by 2**32 were one class to `flip_rate`."""
    numbers = Y.astype(np.int64) * 2**32
    named = SimpleNamespace(run=lambda inputs: (inputs[0].argmax(1).astype(np.int64) * 2**32,))
    found = run(METRICS.get("accuracy"), y=numbers, candidate=named)["candidate"]
    assert found.scores.mean() == 1
    assert found.answers.tolist() == found.labels.tolist() == numbers.tolist()


def test_a_metric_that_does_not_decompose_keeps_outputs() -> None:
    metric = UserMetric("spread", lambda outputs, targets: float(outputs.std()))
    found = run(metric)["candidate"]
    assert found.scores is None
    np.testing.assert_array_equal(found.outputs[0], X)
    assert found.value(metric) == pytest.approx(X.std())


@pytest.mark.parametrize("classes", [64, 22])
def test_a_score_a_class_is_not_taken_for_a_score_a_sample(classes: int) -> None:
    """As many classes as a batch has samples: 64, and 22 in the last."""

    def recall(outputs: Array, targets: Array) -> Array:
        return np.resize(outputs.mean(0), classes)

    assert run(UserMetric("recall", recall))["candidate"].scores is None


def test_a_metric_that_looks_at_its_neighbours_is_not_taken_for_a_score_a_sample() -> None:
    metric = UserMetric("rank", lambda outputs, targets: outputs[:, 0] - outputs[:, 0].mean())
    assert run(metric)["candidate"].scores is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda right: (right.mean(), len(right)), "gave a tuple"),
        (lambda right: {"accuracy": right.mean()}, "gave a dict"),
        (lambda right: (float(one) for one in right), "gave a generator"),
        (lambda right: None, "gave nothing"),
    ],
)
def test_what_is_neither_a_score_a_sample_nor_a_number_is_refused(given: Any, said: str) -> None:
    """The mean of an accuracy and the number of samples beside it halved every drop."""
    metric = UserMetric("mine", lambda outputs, targets: given(outputs.argmax(1) == targets))
    with pytest.raises(StageError, match=rf"metric mine {said}; it must give a score a sample"):
        run(metric)


@pytest.mark.parametrize(
    "given",
    [
        lambda right: right.tolist(),
        lambda right: tuple(right),
        lambda right: right.astype(np.float16),
        lambda right: torch.tensor(right),
        lambda right: torch.tensor(right.mean(), dtype=torch.bfloat16),
        lambda right: Decimal(float(right.mean())),
        lambda right: np.ma.masked_array(right, np.arange(len(right)) % 2 == 0),
    ],
)
def test_numbers_of_any_kind_are_numbers(given: Any) -> None:
    metric = UserMetric("mine", lambda outputs, targets: given(outputs.argmax(1) == targets))
    assert run(metric, candidate=Scaled(), other=Scaled(-1))["candidate"].value(metric) == 1


def test_what_a_metric_writes_into_is_nobody_elses() -> None:
    """The second model's targets, and the data of the case, were what the first call had left."""

    def from_one(outputs: Array, targets: Array) -> Array:
        targets -= 1
        outputs *= -1
        return outputs.argmin(1) == targets

    y = Y + 1
    metric = UserMetric("mine", from_one)
    found = run(metric, y=y, baseline=Scaled(), candidate=Scaled(2))
    assert [each.value(metric) for each in found.values()] == [1, 1]
    assert (y == Y + 1).all()
    whole = UserMetric("mine", lambda outputs, targets: float(from_one(outputs, targets).mean()))
    kept = run(whole, y=y)["candidate"]
    assert [kept.value(whole) for _ in range(2)] == [1, 1]


def test_it_survives_its_files(tmp_path: Path) -> None:
    for index, metric in enumerate(
        (METRICS.get("accuracy"), UserMetric("whole", lambda o, t: float(o.mean())))
    ):
        found: Evaluation = run(metric)["candidate"]
        found.save(tmp_path / str(index))
        again = Evaluation.load(tmp_path / str(index))
        assert again.value(metric) == found.value(metric)
        assert (again.n, again.digest, again.chance, again.classes) == (
            150,
            found.digest,
            found.chance,
            found.classes,
        )
        assert (again.scores is None, again.outputs is None) == (found.scores is None, found.outputs is None)
        with np.load(tmp_path / str(index) / "evaluation.npz", allow_pickle=False) as file:
            assert all(file[key].dtype.kind != "O" for key in file.files)


def test_nan_is_counted_and_the_data_named() -> None:
    x = X.copy()
    x[:7] = np.nan
    found = run(METRICS.get("accuracy"), x, ruined=Scaled(np.inf), right=Scaled())
    assert (found["right"].not_finite, found["right"].blind, found["right"].blind_inputs) == (7, 7, 7)
    assert (found["ruined"].not_finite, found["ruined"].blind) == (150, 7)


def test_no_targets_and_no_batch() -> None:
    with pytest.raises(StageError, match="no targets, so there is no accuracy"):
        evaluate({"candidate": Scaled()}, Data({"test": X}).split("test"), METRICS.get("accuracy"))

    class Flat(Scaled):
        def run(self, inputs: Inputs) -> tuple[Array, ...]:
            return (np.zeros(3),)

    with pytest.raises(
        StageError, match=r"the candidate was given 64 samples, and its first output has shape \[3\]"
    ):
        run(METRICS.get("accuracy"), candidate=Flat())


def batches(array: Array, size: int = 64) -> Any:
    return (array[start : start + size] for start in range(0, len(array), size))


@pytest.mark.parametrize("shape", [(1000,), (1000, 1), (300, 5, 7)])
def test_the_best_constant_is_found_batch_by_batch(shape: tuple[int, ...]) -> None:
    targets = np.random.default_rng(1).normal(1e4, 3, shape)
    flat = targets.reshape(len(targets), -1)
    square, absolute = SquareTally(), AbsoluteTally()
    for batch in batches(targets):
        square.add(batch)
        absolute.add(batch)
    assert square.chance() == pytest.approx(np.square(flat - flat.mean(0)).mean(), rel=1e-9)
    assert absolute.chance() == pytest.approx(np.abs(flat - np.median(flat, axis=0)).mean(), rel=1e-9)


def test_a_median_of_very_many_targets_is_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weighbridge.measure.tallies.MOST", 4000)
    targets = np.random.default_rng(1).normal(0, 3, (8000, 4))
    tally = AbsoluteTally()
    for batch in batches(targets):
        tally.add(batch)
    assert len(tally._rows) <= 1000
    assert tally.chance() == pytest.approx(np.abs(targets - np.median(targets, axis=0)).mean(), rel=0.05)


def test_the_most_frequent_classes_are_counted_batch_by_batch() -> None:
    labels = np.random.default_rng(1).choice(6, 1000, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05])
    for k in (1, 2):
        tally = ClassTally("accuracy", k)
        for batch in batches(labels):
            tally.add(batch)
        assert tally.chance() == pytest.approx(np.sort(np.bincount(labels))[-k:].sum() / 1000)
        assert tally.classes == 6


PEAK = """
import resource, sys
import numpy as np
from weighbridge.core.data import Data
from weighbridge.measure.evaluation import evaluate
from weighbridge.measure.metrics import METRICS, UserMetric

n, kind = int(sys.argv[1]), sys.argv[2]

class Dataset:
    def __len__(self): return n
    def __getitem__(self, i):
        label = np.full((128, 128), i % 21, np.int8)
        return np.full((1,), i % 21, np.float32), label if kind == "user" else np.broadcast_to(label, (21, 128, 128))

class Segmenter:
    def run(self, inputs):
        rows = inputs[0][:, 0].astype(int)
        outputs = np.zeros((len(rows), 21, 128, 128), np.float32)
        outputs[np.arange(len(rows)), rows] = 1
        return (outputs,)

def pixels(outputs, targets):
    return (outputs.argmax(1) == targets).mean((1, 2))

metric = UserMetric("pixels", pixels) if kind == "user" else METRICS.get(kind)
found = evaluate({"baseline": Segmenter(), "candidate": Segmenter()}, Data({"test": Dataset()}).split("test"), metric)
assert found["candidate"].n == n and found["candidate"].scores.shape == (n,)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["user", "mse"])
def test_memory_does_not_grow_with_the_samples(kind: str) -> None:
    """Outputs of [n, 21, 128, 128]: 1.4 MB a sample, 2.8 GB in all at n = 2,000 were they kept."""
    few, many = (
        int(
            subprocess.run(
                [sys.executable, "-c", PEAK, str(n), kind], capture_output=True, text=True, check=True
            ).stdout
        )
        for n in (200, 2000)
    )
    assert many < 1.2 * few
