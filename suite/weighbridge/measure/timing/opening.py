"""Sessions opened anew for each load, so that the allocator puts their weights and buffers elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from weighbridge.contracts import Engine, Inputs, Session, Weighing
from weighbridge.core.results import Artifact
from weighbridge.measure.timing.clock import Call
from weighbridge.measure.timing.load import Opened

PADS, SMALLEST, LARGEST = 8, 6, 20
"""Before each session up to so many arrays are made, of 2 to the power of these bytes, evenly in the power, and held
while the sessions live. What was taken before decides where the next allocation goes: at this place of a cache or
another, in a page of its own or beside others."""


@dataclass(frozen=True)
class Side:
    """A model and what opens it; plain enough to be sent to another process. `name` is `baseline` or `candidate`."""

    name: str
    engine: Engine
    artifact: Artifact
    options: Any

    def open(self) -> Session:
        return self.engine.open(self.artifact, self.options)


@dataclass(frozen=True)
class Opener:
    """Opens the sides, in an order by the toss of a coin, and gives a call of each, which takes its batches in turn."""

    sides: tuple[Side, ...]
    batches: tuple[Inputs, ...]

    @classmethod
    def of(cls, weighing: Weighing, sides: Sequence[str], batches: Sequence[Inputs]) -> Opener:
        """Of `baseline`, `candidate` or both."""
        return cls(tuple(Side(side, *weighing.opening(side)) for side in sides), tuple(batches))

    def __call__(self, seed: int) -> Opened:
        draw = np.random.default_rng(seed)
        calls, held = dict[int, Call](), list[object]()
        for side in draw.permutation(len(self.sides)):
            sizes = 2.0 ** draw.uniform(SMALLEST, LARGEST, draw.integers(1, PADS + 1))
            held += [np.ones(int(size), np.uint8) for size in sizes]
            calls[int(side)] = in_turn(self.sides[side].open(), self.batches)
        return Opened([calls[side] for side in sorted(calls)], held)


def in_turn(session: Session, batches: Sequence[Inputs]) -> Call:
    """A call that runs the next of the batches each time."""
    calls = cycle([session.bind(batch) for batch in batches])
    return lambda: next(calls)()
