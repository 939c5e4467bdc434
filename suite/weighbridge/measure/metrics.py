"""How good outputs are: the metrics a case can name, and the wrapping of a user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.contracts import METRICS, Array, Metric, Requirement
from weighbridge.core.arrays import are_choices
from weighbridge.core.errors import StageError
from weighbridge.core.ragged import as_lists
from weighbridge.core.references import resolve
from weighbridge.core.targets import Reader, class_numbers, numbers
from weighbridge.measure.by_torchmetrics import REQUIRES, as_torchmetric, find_torchmetric
from weighbridge.measure.tallies import AbsoluteTally, ClassTally, NoTally, SquareTally


@dataclass(frozen=True)
class TopK:
    """Right when the target is among the `k` largest of the first output, shape [N, classes]; NaN is never right.

    Of one alone (`k` 1) the output may also be the class itself, shape [N] or [N, 1], int32 or int64.
    """

    name: str
    k: int
    higher_is_better: bool = True
    binary: bool = True

    def per_sample(self, outputs: tuple[Array, ...], targets: Array) -> Array:
        scores = _numbers_of(outputs[0], self.name).reshape(len(outputs[0]), -1)
        if len(targets) != len(scores):
            raise StageError("measure", f"{len(scores)} outputs for {len(targets)} targets")
        if self.k == 1 and _are_classes(scores):
            return np.asarray(scores[:, 0] == self.labels(targets), dtype=np.float64)
        if scores.shape[1] == 1:
            raise StageError(
                "measure",
                f"metric '{self.name}' needs a score a class, and the first output is {outputs[0].dtype} of shape "
                f"{list(outputs[0].shape)}; for another of its {len(outputs)} outputs, or one score a sample, write your own, "
                "`metric: file.py:function`",
            )
        wanted = targets.size // max(len(targets), 1)
        if wanted not in (1, scores.shape[1]):
            raise StageError(
                "data",
                f"metric '{self.name}' wants one class a sample, a number or one-hot; a sample's target has shape "
                f"{list(targets.shape[1:])}, its output {list(outputs[0].shape[1:])}. For several answers a sample "
                + (
                    f"say `metric: {{torchmetrics: MulticlassJaccardIndex, num_classes: {outputs[0].shape[1]}}}`, or "
                    if targets.ndim > 1 and outputs[0].shape[2:] == targets.shape[1:]
                    else ""
                )
                + "write your own, `metric: file.py:function`",
            )
        labels, classes = self.labels(targets), scores.shape[1]
        if classes <= self.k:
            raise StageError(
                "measure",
                f"metric '{self.name}' is right whatever comes: of {classes} classes the target is always among the first "
                f"{self.k}; say `metric: accuracy`",
            )
        if labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
            raise StageError(
                "data",
                f"the targets run from {labels.min()} to {labels.max()}, and the model has {classes} classes, "
                f"0 to {classes - 1}; do the targets count from 1, or hold a mark for 'ignore'? Where the outputs are no score a "
                "class, as of grades, write your own, `metric: file.py:function`",
            )
        # Counted, not sorted: a thousand classes have an order that nobody asks for. Of equal scores the first goes before.
        own = np.take_along_axis(scores, labels[:, None], 1)
        before = (scores > own) | ((scores == own) & (np.arange(classes) < labels[:, None]))
        right = (before.sum(1) < self.k) & np.isfinite(scores).all(1)
        return np.asarray(right, dtype=np.float64)

    def answers(self, outputs: tuple[Array, ...]) -> Array:
        """The class with the largest score, the first of several, or that the model named; -1 where one is not finite."""
        scores = outputs[0].reshape(len(outputs[0]), -1)
        if self.k == 1 and _are_classes(scores):
            return scores[:, 0]
        return np.where(np.isfinite(scores).all(1), scores.argmax(1), -1)

    def labels(self, targets: Array) -> Array:
        return class_numbers(targets, Reader("metric", self.name))

    def whole(self, outputs: tuple[Array, ...], targets: Array) -> float:
        return float(self.per_sample(outputs, targets).mean())

    def tally(self) -> ClassTally:
        return ClassTally(self.name, self.k)


def _numbers_of(output: Array, metric: str) -> Array:
    if output.dtype.kind in "biuf":
        return output
    raise StageError(
        "measure",
        f"metric '{metric}' needs numbers, and the first output holds text, such as {output.ravel()[:1].tolist()}; for names of "
        "classes or another of the outputs write your own, `metric: file.py:function`",
    )


def _are_classes(scores: Array) -> bool:
    """Whether a model names the class itself, as those with an ArgMax inside and scikit-learn's do."""
    return scores.shape[1] == 1 and are_choices(scores)


@dataclass(frozen=True)
class Error:
    """The mean over a sample's outputs of |error| to the power `power`."""

    name: str
    power: int
    higher_is_better: bool = False
    binary: bool = False

    def per_sample(self, outputs: tuple[Array, ...], targets: Array) -> Array:
        found, wanted = (
            array.reshape(len(array), -1)
            for array in (
                _numbers_of(outputs[0], self.name),
                numbers(targets, Reader("metric", self.name)),
            )
        )
        if found.shape[1] != wanted.shape[1]:
            raise StageError(
                "data",
                f"metric '{self.name}' subtracts targets from outputs of the same shape; a sample's output is "
                f"{list(outputs[0].shape[1:])}, its target {list(targets.shape[1:])}"
                + ("; for class numbers say `metric: accuracy`" if wanted.shape[1] == 1 else ""),
            )
        return np.asarray((np.abs(found.astype(np.float64) - wanted) ** self.power).mean(1))

    def whole(self, outputs: tuple[Array, ...], targets: Array) -> float:
        return float(self.per_sample(outputs, targets).mean())

    def tally(self) -> SquareTally | AbsoluteTally:
        return SquareTally() if self.power == 2 else AbsoluteTally()


@dataclass(frozen=True)
class UserMetric:
    """`file.py:function(outputs, targets)`, higher is better unless the function says `higher_is_better = False`.

    It gives a score a sample (shape [N], for pairing) or one number. Of samples that differ in shape and are looked at all at
    once it is given lists, an element a sample.
    """

    name: str
    function: Callable[[Any, Any], Any]
    higher_is_better: bool = True
    binary: bool = False
    directed: bool = True
    """Whether it says itself which way it is better; what does not is taken as better the higher it is."""

    def _call(self, outputs: tuple[Any, ...], targets: Any) -> Array:
        """What the function gives, as numbers; raises `StageError` where it is none of the two."""
        given = self.function(outputs[0] if len(outputs) == 1 else outputs, targets)
        result = given.detach().cpu().double().numpy() if hasattr(given, "detach") else given
        if np.ma.isMaskedArray(result):
            result = result.compressed()
        try:
            scores = np.asarray(result, dtype=np.float64)
        except (TypeError, ValueError):
            scores = None
        # A number and something beside it, such as how many samples it is of, has no mean worth anything.
        beside = isinstance(given, tuple) and scores is not None and scores.shape != (len(targets),)
        if scores is None or given is None or beside:
            raise StageError(
                "measure",
                f"metric {self.name} gave {'nothing' if given is None else f'a {type(given).__name__}'}; it must give a "
                "score a sample, an array of shape [N], or one number",
            )
        return scores

    def per_sample(self, outputs: tuple[Array, ...], targets: Array) -> Array | None:
        # Of what the function writes into, nobody else's outputs and targets are made.
        scores = self._call(tuple(output.copy() for output in outputs), targets.copy())
        return scores if scores.shape == (len(targets),) else None

    def whole(self, outputs: tuple[Array, ...], targets: Array) -> float:
        *given, wanted = as_lists((*outputs, targets))
        try:
            return float(self._call(tuple(given), wanted).mean())
        except (
            AttributeError,
            TypeError,
            ValueError,
        ) as error:  # what a list answers where an array is expected
            if not any(isinstance(each, list) for each in (*given, wanted)):
                raise
            raise StageError(
                "measure",
                f"metric {self.name} raised {type(error).__name__}: {error}; samples differ in shape, so that it is given lists "
                "of all samples: `for output, target in zip(outputs, targets)` reads one after the other, of several outputs "
                "`zip(*outputs, targets)`",
            ) from error

    def tally(self) -> NoTally:
        return NoTally()


def find_metric(stated: str | Mapping[str, Any] | None, folder: Path) -> Metric:
    """The metric a case names (accuracy, without a name); raises `StageError`."""
    if isinstance(stated, Mapping):
        return find_torchmetric(stated, folder)
    if stated is None or ":" not in stated:
        return METRICS.get(stated or "accuracy")
    target = resolve(stated, folder, "measure")
    if hasattr(target, "update") and hasattr(target, "compute"):  # torchmetrics, or a metric after its manner
        return as_torchmetric(stated, target if isinstance(target, type) else lambda: _afresh(target))
    if not callable(target):
        raise StageError(
            "measure", f"{stated} is a {type(target).__name__}, not a function of (outputs, targets)"
        )
    higher = getattr(target, "higher_is_better", None)
    return UserMetric(stated, target, higher is None or bool(higher), directed=higher is not None)


def metric_requires(stated: str | Mapping[str, Any] | None) -> tuple[Requirement, ...]:
    """What must be installed for the metric a case names."""
    theirs = isinstance(stated, Mapping) or str(stated).partition(":")[0].partition(".")[0] == "torchmetrics"
    return (REQUIRES,) if theirs else ()


def _afresh(metric: Any) -> Any:
    metric.reset()
    return metric


METRICS.add("accuracy", TopK("accuracy", 1))
METRICS.add("top5", TopK("top5", 5))
METRICS.add("mse", Error("mse", 2))
METRICS.add("mae", Error("mae", 1))
