"""What a metric says of guessing: a count of targets that takes them batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

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
