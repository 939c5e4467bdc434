"""What `quantize: auto` judges an artifact by: the case's own limits, on metrics and outputs of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weighbridge.contracts import METRICS, Context, Limit
from weighbridge.core.batches import count
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.layout import Layout
from weighbridge.steps.calibration import MOST
from weighbridge.steps.quantize import onnx_judge
from weighbridge.steps.quantize.onnx_judge import Judge, noise_share

X = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)


class Function:
    """A session that computes with numpy."""

    def __init__(self, *functions: Callable[[Any], Any]) -> None:
        self.functions = functions
        self.seen = 0

    def run(self, inputs: Any) -> tuple[Any, ...]:
        self.seen += len(inputs[0])
        return tuple(np.asarray(each(inputs[0])) for each in self.functions)

    def bind(self, inputs: Any) -> Callable[[], object]:
        return lambda: self.run(inputs)


SAME = Function(lambda x: x)


def judge(
    folder: Path, targets: Any = None, metric: Any = None, original: Function = SAME, **limits: Limit
) -> Judge:
    data = Data(splits={"calibration": (X, targets)})
    named = METRICS.get(metric) if isinstance(metric, str) else metric
    return Judge(Context(folder, folder, 0, data, metric=named, limits=limits), original, 0.01)


class Whole:
    """A metric that does not decompose: the share of right answers, once they are all there."""

    name, higher_is_better, binary = "whole", True, False

    def per_sample(self, outputs: Any, targets: Any) -> None:
        return None

    def whole(self, outputs: Any, targets: Any) -> float:
        return float((outputs[0].argmax(1) == targets).mean())

    def tally(self) -> Any:
        raise NotImplementedError


def test_a_limit_of_zero_allows_nothing(tmp_path: Path) -> None:
    made = judge(tmp_path, X.argmax(1), "accuracy", accuracy_drop=Limit(max=0.0))
    assert made.holds(made.loss(SAME))
    assert not made.holds(made.loss(Function(lambda x: np.where(x == x[3], -x, x))))


def test_half_of_what_is_above_the_floor_may_be_lost(tmp_path: Path) -> None:
    right = X.argmax(1)
    right[:10] = (right[:10] + 1) % 4  # the original has 0.9
    by_floor = judge(tmp_path, right, "accuracy", accuracy=Limit(min=0.8), fidelity=Limit(min=99))
    assert by_floor.limit == "accuracy_drop 0.05"
    unreachable = judge(tmp_path, right, "accuracy", accuracy=Limit(min=0.95))
    assert unreachable.limit == "accuracy_drop 0.01"
    assert "the float model itself misses `accuracy` 0.95 there" in unreachable.said(0.0)
    above = judge(tmp_path, X, "mse", Function(lambda x: x + 1), accuracy=Limit(max=1.5))
    assert above.limit == "accuracy_drop 0.25"


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_an_error_of_any_scale(tmp_path: Path, scale: float) -> None:
    """The original's mean squared error is the square of `scale`; a rise of 1 % of that is allowed by itself."""
    targets = (X + scale).astype(np.float64)
    original = Function(lambda x: x.astype(np.float64))
    little, much = (
        Function(lambda x, part=part: x.astype(np.float64) - part * scale) for part in (0.001, 0.05)
    )
    by_default = judge(tmp_path, targets, "mse", original)
    assert by_default.holds(by_default.loss(little))
    assert not by_default.holds(by_default.loss(much))
    stated = judge(tmp_path, targets, "mse", original, relative_accuracy_drop=Limit(max=0.5))
    assert stated.holds(stated.loss(much))


def test_an_error_that_rises_is_said_to_rise(tmp_path: Path) -> None:
    made = judge(tmp_path, X + 1, "mse")
    said = made.said(made.loss(Function(lambda x: x - 1)))
    assert said == "mse on 100 samples of the calibration split 1 before and 4 after"


def test_a_metric_of_the_whole_beside_an_output_without_samples(tmp_path: Path) -> None:
    two = Function(lambda x: x, lambda x: x.sum())
    made = judge(tmp_path, X.argmax(1), Whole(), two)
    assert made.loss(two) == 0
    assert made.loss(Function(lambda x: -x, lambda x: x.sum())) > 0.5


def test_a_metric_that_raises_is_named(tmp_path: Path) -> None:
    class Broken(Whole):
        def per_sample(self, outputs: Any, targets: Any) -> None:
            raise KeyError("boxes")

    with pytest.raises(StageError, match="metric whole raised KeyError: 'boxes'"):
        judge(tmp_path, X.argmax(1), Broken())


def test_a_limit_on_the_metric_that_no_target_serves_is_said(tmp_path: Path) -> None:
    made = judge(tmp_path, None, "accuracy", accuracy_drop=Limit(max=0.02))
    assert "100 samples of the calibration split, which have no targets: 200.0 dB" in made.said(
        made.loss(SAME)
    )


def test_what_is_not_finite_holds_no_limit(tmp_path: Path) -> None:
    broken = Function(lambda x: x * np.nan)
    for made in (judge(tmp_path), judge(tmp_path, X, "mse")):
        assert made.holds(made.loss(SAME))
        assert not made.holds(made.loss(broken))


def test_an_output_that_was_all_zero_and_is_not(tmp_path: Path) -> None:
    made = judge(tmp_path, original=Function(lambda x: x, lambda x: x * 0))
    assert not made.holds(made.loss(Function(lambda x: x, lambda x: x * 0 + 1)))


def test_whole_numbers_are_outputs_too(tmp_path: Path) -> None:
    made = judge(tmp_path, original=Function(lambda x: x.argmax(1)))
    assert made.holds(made.loss(Function(lambda x: x.argmax(1))))
    assert not made.holds(made.loss(Function(lambda x: x.argmin(1))))
    assert noise_share([np.arange(4)], [np.array([0, 1, 2, 9])]) == 0.25


def test_large_outputs_are_judged_on_fewer_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_judge, "ROOM", 40 * X[0].nbytes)
    candidate = Function(lambda x: x)
    judge(tmp_path).loss(candidate)
    assert 20 <= candidate.seen < 100


@pytest.mark.parametrize("n", [300, 1000, 2049])
def test_a_split_that_is_sorted_by_class_is_judged_whole(tmp_path: Path, n: int) -> None:
    """An artifact that answers the last classes wrong loses what it loses on all samples."""
    targets = np.arange(n) * 4 // n
    x = np.eye(4, dtype=np.float32)[targets]
    context = Context(
        tmp_path, tmp_path, 0, Data(splits={"calibration": (x, targets)}), metric=METRICS.get("accuracy")
    )
    found = Judge(context, SAME, 0.01)
    ruined = Function(lambda x: np.where(x[:, 3:] > 0, np.roll(x, 1, axis=1), x))
    assert found.loss(ruined) == pytest.approx(0.25, abs=0.05)


def test_no_sample_of_many_is_judged_alone(tmp_path: Path) -> None:
    """A model whose last layer squeezes gives an answer without a batch for one sample: here, of every 79th of 20,000."""
    x = np.random.default_rng(0).standard_normal((20_000, 1)).astype(np.float32)
    context = Context(
        tmp_path, tmp_path, 0, Data(splits={"calibration": (x, x[:, 0])}), metric=METRICS.get("mse")
    )
    squeezing = Function(np.squeeze)
    found = Judge(context, squeezing, 0.01)
    assert found.holds(found.loss(squeezing))
    assert not found.holds(found.loss(Function(lambda x: np.squeeze(x) + 1)))
    assert "254 samples of the calibration split" in found.said(0.0)


def test_no_batch_is_of_more_samples_than_calibration_has(tmp_path: Path) -> None:
    """The user's own batch is cut."""
    seen = list[int]()

    def answer(x: Any) -> Any:
        seen.append(len(x))
        return x

    data = Data(splits={"calibration": [(X[:63], X[:63, 0])]})
    Judge(Context(tmp_path, tmp_path, 0, data), Function(answer), 0.01)
    assert max(seen) <= MOST


def test_equal_recordings_without_a_batch_axis_stay_two(tmp_path: Path) -> None:
    """Each is one sample, so that joining them would leave one of them without its target."""
    layout = Layout(axes={"x": None})
    recordings = [({"x": X[:5]}, X[:1, 0])] * 4
    data = Data(splits={"calibration": recordings}, layout=layout)
    found = [count(inputs) for inputs, _ in onnx_judge._gathered(data.split("calibration"))]
    assert found == [1, 1, 1, 1]


def test_of_one_sample_a_small_error_is_little_noise() -> None:
    one = X[:1]
    assert noise_share([one], [one + np.float32(1e-3)]) < 0.01
    assert noise_share([one], [-one]) > 0.5


@pytest.mark.parametrize(("limit", "told"), [(0.01, True), (0.1, False)])
def test_too_few_samples_for_the_limit_are_told(tmp_path: Path, limit: float, told: bool) -> None:
    found = judge(tmp_path, X.argmax(1), "accuracy", accuracy_drop=Limit(max=limit))
    assert ("so few cannot tell a loss of" in found.said(0.0)) is told


def test_labels_of_other_samples_are_no_judge(tmp_path: Path) -> None:
    """Of answers that are all wrong an artifact loses none."""
    with pytest.raises(
        StageError, match=r"the float model itself has accuracy .* are its targets those of its inputs"
    ):
        judge(tmp_path, (X.argmax(1) + 1) % 4, "accuracy")
    assert judge(tmp_path, X.argmax(1), "accuracy").holds(0.0)
    assert judge(tmp_path, np.zeros(100, np.int64), "accuracy").holds(
        0.0
    )  # one class tells nothing of guessing
