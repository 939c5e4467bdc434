"""Channels of an ONNX graph that stay or go together, and where a value carries them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

Role = Literal["makes", "reads", "along"]


@dataclass(frozen=True)
class Touch:
    """A stored input that changes with the channels: along `axis`, `repeat` neighbours a channel."""

    node: Any
    position: int
    axis: int
    repeat: int
    role: Role


@dataclass(eq=False)
class Group:
    """Channels that stay or go together, in every layer of the group."""

    width: int
    touches: list[Touch] = field(default_factory=list)
    depthwise: list[Any] = field(default_factory=list)
    """Convolutions of one filter a channel: their number of groups is the width."""
    shapes: list[Touch] = field(default_factory=list)
    """Stored shapes that name the width at the place `axis`."""
    kept: str = ""
    """Why it has to stay whole."""
    _joined: Group | None = None

    def root(self) -> Group:
        return self if self._joined is None else self._joined.root()

    def join(self, other: Group) -> None:
        one, two = self.root(), other.root()
        if one is two:
            return
        one.touches += two.touches
        one.depthwise += two.depthwise
        one.shapes += two.shapes
        one.kept = one.kept or two.kept
        two._joined = one

    def makers(self) -> list[Any]:
        """The nodes whose outputs these channels are."""
        return [touch.node for touch in self.touches if touch.role == "makes"]


@dataclass(frozen=True)
class Channels:
    """Where a value of `rank` axes carries a group: along `axis`, `repeat` neighbours a channel."""

    group: Group
    axis: int
    rank: int
    repeat: int = 1

    @property
    def from_end(self) -> int:
        return self.rank - self.axis

    @property
    def size(self) -> int:
        return self.group.width * self.repeat

    def in_rank(self, rank: int) -> Channels:
        """The same beside an operand of `rank` axes, which may be more."""
        grown = max(rank, self.rank)
        return replace(self, axis=grown - self.from_end, rank=grown)

    def like(self, other: Channels) -> bool:
        return (self.from_end, self.size, self.repeat) == (other.from_end, other.size, other.repeat)
