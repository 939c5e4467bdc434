"""Torch-Pruning's search for what goes with a channel, ended where it would not end by itself.

It follows channels by their numbers, and remembers which numbers it has brought to a layer. Where a forward puts them in
another order and meets itself again (halves exchanged as in rotary embeddings, windows that are shifted), it brings new
ones for ever, or lists that grow at each turn.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from weighbridge.environment.extras import TORCH_PRUNING, load

_TURNS = 32
"""Visits of one layer in one group; a network with many branches has four."""
_NUMBERS = 200_000
"""Channels that a visit speaks of; a picture that is flattened has some ten thousand."""


class EndlessError(Exception):
    """What goes with a channel of `layer` cannot be told; the message says so."""

    def __init__(self, layer: Any) -> None:
        super().__init__("its channels meet themselves again in another order")
        self.layer = layer


@contextlib.contextmanager
def ended() -> Iterator[None]:
    """Inside, a group that Torch-Pruning would gather without end raises `EndlessError`."""
    graph: Any = load(TORCH_PRUNING).dependency.graph
    original: Any = graph.Group

    class Watched(original):  # type: ignore[misc]  # Torch-Pruning has no types
        def __init__(self) -> None:
            super().__init__()
            self.visits = Counter[int]()

        def add_dep(self, dep: Any, idxs: Any) -> None:
            super().add_dep(dep=dep, idxs=idxs)
            self.visits[id(dep.target)] += 1
            if self.visits[id(dep.target)] > _TURNS or len(idxs) > _NUMBERS:
                raise EndlessError(self.items[0].dep.target.module)

    graph.Group = Watched
    try:
        yield
    finally:
        graph.Group = original
