"""The samples that a step calibrates on, the same for every step: read once, in batches of few bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from weighbridge.core.data import apply
from weighbridge.core.errors import StageError

if TYPE_CHECKING:
    from weighbridge.contracts import Array, Context, Inputs

MOST = 32
"""Samples of a batch."""
BYTES = 2**20
"""Of a batch's inputs. Activations are often a hundred times as large, and calibrators keep those of a batch."""


class Calibration:
    """The first `samples` samples of the split `calibration`. Each is read once; iterate once.

    `fixed` is the batch of a model that takes no other; the samples that fill no last batch are left out, unless it is
    the only one, which is filled up by repetition. Inputs named in `whole` have no batch axis in front (a recurrent
    state): a batch that holds one is passed on as the data gives it, as is one whose arrays differ in their axis 0.
    """

    def __init__(
        self, context: Context, samples: int, fixed: int | None = None, whole: Collection[str] = ()
    ) -> None:
        split = context.data.split("calibration")
        self._samples, self._fixed, self._whole = samples, fixed, whole
        self._name = split.name
        self._indexed = split.length is not None
        self._length = min(samples, split.length or samples)
        # Single samples where the split can be indexed: no batch need be cut or read twice.
        self._read = iter(split.batches(1 if self._indexed else MOST))
        self._size = fixed or MOST

    def __iter__(self) -> Iterator[Inputs]:
        """Batches of at most `BYTES` and `MOST`, or of `fixed`. Raises `StageError` where the split is empty."""
        pending: list[Inputs] = []
        empty = True
        for piece in self._pieces():
            pending, ready = self._gather(pending, piece)
            for batch in ready:
                empty = False
                yield batch
        for batch in self._rest(pending, empty):
            empty = False
            yield batch
        if empty:
            raise StageError("quantize", f"split '{self._name}' holds no sample to calibrate on")

    def batches(self) -> tuple[Iterator[Inputs], int | None]:
        """The batches, and how many there are at least; None where only reading tells."""
        iterator = iter(self)
        first = next(iterator)
        if not self._indexed:
            return chain([first], iterator), None
        whole = self._length // self._fixed if self._fixed else -(-self._length // self._size)
        return chain([first], iterator), max(1, whole)

    def _pieces(self) -> Iterator[Inputs]:
        """What the split gives, until enough samples are seen; cut to the limit where it can be cut."""
        seen = 0
        for inputs, _ in self._read:
            size = self._count(inputs)
            left = self._samples - seen
            yield inputs if size is None or size <= left else apply(inputs, lambda array: array[:left])  # noqa: B023
            seen += size or 1
            if seen >= self._samples:
                return

    def _gather(self, pending: list[Inputs], piece: Inputs) -> tuple[list[Inputs], list[Inputs]]:
        """What is still to be filled up, and the batches that are whole."""
        size = self._count(piece)
        if size is None:
            return [], [*map(_joined, [pending] if pending else []), piece]
        self._size = self._fixed or max(1, min(MOST, BYTES * size // max(_bytes(piece), 1)))
        ready: list[Inputs] = []
        if pending and not _same_shapes(pending[0], piece):
            if self._fixed is None:
                ready.append(_joined(pending))
            pending = []
        joined = _joined([*pending, piece]) if pending else piece
        total = self._count(joined) or 0
        stop = total // self._size * self._size
        ready += [_cut(joined, start, start + self._size) for start in range(0, stop, self._size)]
        return ([_cut(joined, stop, total)] if stop < total else []), ready

    def _rest(self, pending: list[Inputs], alone: bool) -> list[Inputs]:
        if not pending or (self._fixed is not None and not alone):
            return []
        batch, fixed = _joined(pending), self._fixed
        if fixed is None:
            return [batch]
        import numpy as np

        return [apply(batch, lambda array: array[np.arange(fixed) % len(array)])]

    def _count(self, inputs: Inputs) -> int | None:
        """The samples of a batch; None where it cannot be cut into samples."""
        if isinstance(inputs, dict) and any(name in inputs for name in self._whole):
            return None
        lengths = {array.shape[0] if array.ndim else None for array in _arrays(inputs)}
        return lengths.pop() if len(lengths) == 1 else None


def _cut(inputs: Inputs, start: int, stop: int) -> Inputs:
    return apply(inputs, lambda array: array[start:stop])


def _joined(parts: list[Inputs]) -> Inputs:
    import numpy as np

    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in first}  # type: ignore[call-overload]
    return tuple(np.concatenate([part[index] for part in parts]) for index in range(len(first)))  # type: ignore[index]


def _arrays(inputs: Inputs) -> list[Array]:
    return list(inputs.values()) if isinstance(inputs, dict) else list(inputs)


def _bytes(inputs: Inputs) -> int:
    return sum(array.nbytes for array in _arrays(inputs))


def _same_shapes(one: Inputs, other: Inputs) -> bool:
    """Apart from the batch: sequences of other lengths cannot stand in one array."""
    return [array.shape[1:] for array in _arrays(one)] == [array.shape[1:] for array in _arrays(other)]
