"""What a metric may know beside scores: a count of targets, batch by batch, and the class that is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from weighbridge.core.arrays import Array


class Tally(Protocol):
    """Takes the targets batch by batch, in bounded memory."""

    @property
    def classes(self) -> int | None:
        """How many different answers were seen, where the metric knows classes."""
        ...

    def add(self, targets: Array) -> None: ...

    def chance(self) -> float | None:
        """The score of the best model that ignores its inputs (the majority class), or None where unknown."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """What a metric of one class a sample adds, so that drops by class and changed answers are told."""

    def answers(self, outputs: tuple[Array, ...]) -> Array:
        """The class that each sample is given, shape [N], whole numbers; -1 for none."""
        ...

    def labels(self, targets: Array) -> Array:
        """The class that each sample is of, shape [N], whole numbers."""
        ...


@runtime_checkable
class Additive(Protocol):
    """What a metric of sums over samples adds, such as one of a confusion matrix: its outputs need not be kept."""

    def parts(self, outputs: tuple[Array, ...], targets: Array) -> Array | None:
        """What each sample adds, shape [N, D], float64; None where that cannot be told."""
        ...

    def of_sum(self, total: Array) -> float:
        """The metric of samples whose parts sum to `total`, shape [D]."""
        ...
