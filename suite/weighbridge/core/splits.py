"""One split of a case's data: batches of numpy arrays, whatever the user gave.

What a user may give is in `docs/data.md`. It becomes one of three sources: arrays that are sliced, samples that are put
into batches, and batches that stay as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weighbridge.core.arrays import Array, Inputs
from weighbridge.core.batches import Fingerprint, count, items, join, nbytes, rebuilt, shapes, take
from weighbridge.core.errors import StageError
from weighbridge.core.layout import Batch, Labelled, Layout
from weighbridge.core.named_targets import shapes_of

KEEP = 256 * 2**20
"""Bytes: a split up to this size is read once and kept; a generator, which can be read once only, must be no larger."""


@dataclass
class Split:
    """The samples of one split. `length` is None where only iterating tells it.

    What is not in memory is read once and kept, up to `KEEP`, so that a loader that shuffles gives everybody the same.
    A split to train on (`redrawn`) is read anew each time, since it may shuffle and augment.
    """

    name: str
    source: Arrays | Stream | Kept
    redrawn: bool = False
    grouped_by: str | int | None = None
    """What the case says names the samples that belong together."""
    _fingerprint: Fingerprint | None = field(default=None, repr=False)

    @property
    def length(self) -> int | None:
        return self.source.length

    @property
    def steady(self) -> bool:
        """Whether each reading gives the same."""
        return not self.redrawn or isinstance(self.source, Arrays | Kept)

    def batches(self, size: int = 64) -> Iterator[Labelled]:
        """`(inputs, targets)` in order, at most `size` samples each; a user's own batches keep their own size.

        A last one of one sample gets another from the one before: a model whose last layer squeezes would lose the batch's
        axis. Samples of unlike shapes do not stand in one batch. Raises `StageError` for an empty split.
        """
        for batch in self.whole(size):
            yield batch.inputs, batch.targets

    def whole(self, size: int = 64) -> Iterator[Batch]:
        """The same, with the group of each sample where the data gives it."""
        held: list[Batch] = []
        for batch in self.source.batches(size):
            if len(held) == 2 or (held and not _is_left_over(batch, held[0])):
                yield from held
                held = []
            held.append(batch)
        if not held:
            raise StageError("data", f"split '{self.name}' is empty")
        yield from held if len(held) == 1 else _shared(*held)

    def arrays(self, limit: int | None = None) -> Labelled:
        """The first `limit` samples (all, without one) as one batch; raises `StageError` where their shapes differ."""
        seen, parts = 0, []
        for inputs, targets in self.batches():
            parts.append((inputs, targets))
            seen += count(inputs)
            if limit is not None and seen >= limit:
                break
        return Batch(*join_labelled(parts, self.name)).rows(slice(limit))[:2]

    def first(self, n: int) -> Inputs:
        """The inputs of up to `n` samples from the start, as far as they have one shape."""
        parts: list[Labelled] = []
        seen = 0
        for batch in self.batches(min(n, 64)):
            if parts and form(batch) != form(parts[0]):
                break
            parts.append(batch)
            seen += count(batch[0])
            if seen >= n:
                break
        return take(_joined(parts)[0], slice(n))

    def unlike(self, inputs: Inputs) -> Inputs | None:
        """The first batch whose samples have another shape than those of `inputs`; None where there is none."""
        return next((other for other, _ in self.batches() if shapes(other) != shapes(inputs)), None)

    def spread(self, n: int) -> Split:
        """About `n` samples from all over the split, which is often sorted by class; of what only iterating tells, all."""
        source = self.source
        if not isinstance(source, Arrays) or (source.length or 0) <= n:
            return self
        rows = np.linspace(0, (source.length or 0) - 1, n).round().astype(int)
        return Split(self.name, Arrays(*source.rows(rows)), grouped_by=self.grouped_by)

    def epoch(self, size: int, permutation: Callable[[int], Array]) -> Iterator[Labelled]:
        """One pass to train on, drawn anew: arrays and datasets in a fresh order, a user's own batches as they come.

        `permutation` is told how many samples there are, and gives those to take in their order. A last batch of one joins
        the one before, since batch normalization has nothing to average over in it.
        """
        source, n = self.source, self.samples
        if n is None:
            yield from self.batches(size)
            return
        order = permutation(n)
        starts = _starts(len(order), size)
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
            rows = order[start:stop]
            if isinstance(source, Arrays):
                yield source.rows(rows)[:2]
            else:
                for batch in _grouped(source.elements(rows), size + 1):
                    yield batch.inputs, batch.targets

    @property
    def samples(self) -> int | None:
        """How many samples can be read in any order; None where they come as they come."""
        return self.source.length if isinstance(self.source, Arrays) else self.source.samples

    def batches_an_epoch(self, size: int, samples: int | None) -> int:
        """How many batches `epoch` gives of so many samples; what comes as it comes is read to count them."""
        return len(_starts(samples, size)) if samples is not None else sum(1 for _ in self.batches(size))

    def digest(self) -> str:
        """SHA-256 over the content in its order: shapes, types, inputs and targets. Reads the split once."""
        return self.scan().hexdigest()

    def scan(self) -> Fingerprint:
        """What one reading of the split shows."""
        if self._fingerprint is None:
            found = Fingerprint()
            kept = Kept(self.source) if isinstance(self.source, Stream) and not self.redrawn else None
            for batch in (kept or self.source).batches(64):
                found.add(*batch)
            if not found.rows().size:
                raise StageError("data", f"split '{self.name}' is empty")
            if kept is not None and kept.complete:
                self.source = kept
            if not self.steady:
                return found  # the next reading may give something else
            self._fingerprint = found
        return self._fingerprint


def _starts(n: int, size: int) -> list[int]:
    """Where the batches of an epoch begin."""
    starts = list(range(0, n, size))
    return starts[:-1] if n % size == 1 and n > 1 else starts


@dataclass
class Arrays:
    """A whole split in memory."""

    inputs: Inputs
    targets: Array | None
    groups: Array | None = None

    def __post_init__(self) -> None:
        self.length: int | None = count(self.inputs)

    def batches(self, size: int) -> Iterator[Batch]:
        for start in range(0, self.length or 0, size):
            yield self.rows(slice(start, start + size))

    def rows(self, rows: slice | Array) -> Batch:
        return Batch(self.inputs, self.targets, self.groups).rows(rows)


@dataclass
class Stream:
    """Samples or batches of an iterable. `open` gives a fresh iterator; `single` is None where the first element tells."""

    open: Callable[[], Iterator[Any]]
    layout: Layout
    name: str
    single: bool | None = None
    dataset: Any = None
    """A map-style dataset, whose samples can be read in any order."""
    _listed: bool = field(default=False, repr=False)
    """Whether the elements are batches whose targets are lists, read as their samples."""

    def __post_init__(self) -> None:
        self.length: int | None = None if self.dataset is None else len(self.dataset)

    @property
    def samples(self) -> int | None:
        return self.length

    def batches(self, size: int) -> Iterator[Batch]:
        elements = self.elements()
        first = next(elements, None)
        if first is None:
            return
        if self.single:
            yield from _grouped(_chained(first, elements), size)
        else:
            yield from _chained(first, elements)

    def elements(self, order: Iterable[int] | None = None) -> Iterator[Batch]:
        """Each element as a batch: of one, where it is a sample. `order` is of the samples of a `dataset`."""
        try:
            for value in self.open() if order is None else (self.dataset[int(index)] for index in order):
                yield from map(_owned, self._read(value))
        except StageError:
            raise
        except Exception as error:  # the user's own code
            raise StageError(
                "data", f"reading split '{self.name}' raised {type(error).__name__}: {error}"
            ) from error

    def _read(self, value: Any) -> Iterable[Batch]:
        """The samples of one element, each a batch of one, or the batch that it is."""
        if (self._listed or not self.single) and self.layout.are_listed(value, self.name):
            self.single = self._listed = True
            return self.layout.listed(value, self.name)
        if self.single is None:
            self.single = self.layout.is_sample(value, self.name)
        return ((self.layout.sample if self.single else self.layout.batch)(value, self.name),)


def _owned(batch: Batch) -> Batch:
    """The same in memory of its own: a loader may fill one buffer again for each element, and ours are held meanwhile."""
    inputs = rebuilt(batch.inputs, lambda name, array, axis: array.copy())
    return Batch(inputs, *(None if part is None else part.copy() for part in (batch.targets, batch.groups)))


class Kept:
    """What a stream gave at its first complete reading, in memory, as far as `KEEP` allows."""

    def __init__(self, source: Stream) -> None:
        self._source = source
        self._elements: list[Batch] | None = []
        self.complete = False
        self.length = source.length

    @property
    def full(self) -> bool:
        """Whether the reading has gone beyond `KEEP`, so that nothing is kept."""
        return self._elements is None

    @property
    def samples(self) -> int | None:
        return len(self._elements or ()) if self.complete and self._source.single else None

    def batches(self, size: int) -> Iterator[Batch]:
        if not self.complete:
            return self._first(size)
        return _grouped(self.elements(), size) if self._source.single else self.elements()

    def elements(self, order: Iterable[int] | None = None) -> Iterator[Batch]:
        held = self._elements or []
        return iter(held) if order is None else (held[int(index)] for index in order)

    def _first(self, size: int) -> Iterator[Batch]:
        self._elements = []
        reading = self._remember(self._source.elements())
        first = next(reading, None)
        if first is not None:
            chained = _chained(first, reading)
            yield from _grouped(chained, size) if self._source.single else chained
        self.complete = self._elements is not None

    def _remember(self, elements: Iterator[Batch]) -> Iterator[Batch]:
        held = 0
        for element in elements:
            held += nbytes(element.inputs, element.targets)
            if held > KEEP:
                self._elements = None
            if self._elements is not None:
                self._elements.append(element)
            yield element


def _is_left_over(last: Batch, before: Batch) -> bool:
    """Whether it is one sample behind a batch of three or more like it, which can spare one."""
    return count(last.inputs) == 1 and count(before.inputs) > 2 and form(last) == form(before)


def _shared(before: Batch, last: Batch) -> Iterator[Batch]:
    """The same samples, the last of `before` in the last batch."""
    both = _whole([before, last])
    cut = count(both.inputs) - 2
    yield both.rows(slice(cut))
    yield both.rows(slice(cut, None))


def _chained(first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    yield first
    yield from rest


def _grouped(samples: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Batches of up to `size` of consecutive samples that have one shape."""
    group: list[Batch] = []
    for sample in samples:
        if group and (len(group) == size or form(sample) != form(group[0])):
            yield _whole(group)
            group = []
        group.append(sample)
    if group:
        yield _whole(group)


def _whole(batches: Sequence[Batch]) -> Batch:
    groups = [batch.groups for batch in batches if batch.groups is not None]
    labelled = [(batch.inputs, batch.targets) for batch in batches]
    return Batch(*_joined(labelled), np.concatenate(groups) if groups else None)


def form(batch: Labelled | Batch) -> tuple[Any, ...]:
    """What the samples of one batch share: shapes, and the values of what has no batch axis."""
    shared = tuple(array.tobytes() for _, array, axis in items(batch[0]) if axis is None)
    return shapes(batch[0]), None if batch[1] is None else shapes_of(batch[1]), shared


def _joined(batches: Sequence[Labelled]) -> Labelled:
    targets = [targets for _, targets in batches if targets is not None]
    return join([inputs for inputs, _ in batches]), np.concatenate(targets) if targets else None


def join_labelled(batches: Sequence[Labelled], split: str) -> Labelled:
    """Several batches as one; raises `StageError` where their samples differ in shape."""
    forms = list(dict.fromkeys(form(batch) for batch in batches))
    if len(forms) > 1:
        one, other = forms[:2]
        by_targets = one[0] == other[0] and one[1] != other[1]
        told = [(targets or (),) if by_targets else inputs for inputs, targets, _ in (one, other)]
        found = " and ".join(str([list(shape) for shape in parts]) for parts in told)
        what = "targets" if by_targets else "samples"
        raise StageError(
            "data",
            f"the {what} of split '{split}' differ in shape ({found}) and cannot stand in one batch; pad them to one",
        )
    return _joined(batches)
