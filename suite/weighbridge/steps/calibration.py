"""The samples that a step calibrates on, the same for every step: read once, in batches of few bytes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from weighbridge.core.batches import count, items, join, nbytes, not_finite, shapes, take
from weighbridge.core.errors import StageError

if TYPE_CHECKING:
    from weighbridge.contracts import Context, Inputs

MOST = 32
"""Samples of a batch."""
BYTES = 2**20
"""Of a batch's inputs. Activations are often a hundred times as large, and calibrators keep those of a batch."""


class Calibration:
    """The first `samples` samples of the split `calibration`. Each is read once; iterate once.

    In a further draw of `repeat`, as many at random, in their order; a split of no more is taken whole again.
    `fixed` is the batch of a model that takes no other; the samples that fill no last batch are left out, unless it is
    the only one, which is filled up by repetition. Samples of several shapes stand in batches of their own.
    """

    def __init__(self, context: Context, samples: int, fixed: int | None = None) -> None:
        split = context.data.split("calibration")
        self._samples, self._fixed, self._name = samples, fixed, split.name
        self._indexed = split.length is not None
        self._length = min(samples, split.length or samples)
        # Single samples where the split can be indexed: no batch need be cut or read twice.
        self._read = iter(split.batches(1 if self._indexed else MOST))
        self._size = fixed or MOST
        self._chosen = None
        if context.draw:
            length = split.length or len(split.scan().rows())
            random = np.random.default_rng([context.seed, context.draw])
            self._chosen = np.sort(random.permutation(length)[:samples])

    def __iter__(self) -> Iterator[Inputs]:
        """Batches of at most `BYTES` and `MOST`, or of `fixed`; raises `StageError` where nothing can be learned."""
        pending: list[Inputs] = []
        empty = True
        for piece in self._pieces():
            if all(
                axis is None for _, _, axis in items(piece)
            ):  # what has no batch is one, each sample its own
                pending, ready = [], [piece]
            else:
                pending, ready = self._gather(pending, piece)
            for batch in ready:
                empty = False
                yield batch
        for batch in self._rest(pending, empty):
            empty = False
            yield batch
        if empty:
            raise StageError("data", f"split '{self._name}' holds no sample to calibrate on")

    def batches(self) -> tuple[Iterator[Inputs], int | None]:
        """The batches, and how many there are at least; None where only reading tells."""
        iterator = iter(self)
        first = next(iterator)
        if not self._indexed:
            return chain([first], iterator), None
        whole = self._length // self._fixed if self._fixed else -(-self._length // self._size)
        return chain([first], iterator), max(1, whole)

    def _pieces(self) -> Iterator[Inputs]:
        """What the split gives, until enough samples are seen; cut to the limit."""
        seen = passed = 0
        for inputs, _ in self._read:
            if self._chosen is not None:
                here = (
                    self._chosen[(self._chosen >= passed) & (self._chosen < passed + count(inputs))] - passed
                )
                passed += count(inputs)
                if not here.size:
                    continue
                inputs = take(inputs, here)
            if broken := int(not_finite(inputs).sum()):
                raise StageError(
                    "data",
                    f"{broken} of {count(inputs)} samples of split '{self._name}' hold NaN or infinity; no range of "
                    "activations can be learned from them",
                )
            size, left = count(inputs), self._samples - seen
            yield inputs if size <= left else take(inputs, slice(0, left))
            seen += size
            if seen >= self._samples:
                return

    def _gather(self, pending: list[Inputs], piece: Inputs) -> tuple[list[Inputs], list[Inputs]]:
        """What is still to be filled up, and the batches that are whole."""
        self._size = self._fixed or max(1, min(MOST, BYTES * count(piece) // max(nbytes(piece, None), 1)))
        ready: list[Inputs] = []
        if pending and shapes(pending[0]) != shapes(piece):
            if self._fixed is None:
                ready.append(join(pending))
            pending = []
        joined = join([*pending, piece])
        total = count(joined)
        stop = total // self._size * self._size
        ready += [take(joined, slice(start, start + self._size)) for start in range(0, stop, self._size)]
        return ([take(joined, slice(stop, total))] if stop < total else []), ready

    def _rest(self, pending: list[Inputs], alone: bool) -> list[Inputs]:
        if not pending or (self._fixed is not None and not alone):
            return []
        batch = join(pending)
        if self._fixed is None:
            return [batch]
        return [take(batch, np.arange(self._fixed) % count(batch))]
