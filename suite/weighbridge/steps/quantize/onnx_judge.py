"""What a quantized artifact loses on samples of the calibration split, and what it may lose by the case's own limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from weighbridge.contracts import Array, Context, Inputs, Limit, Metric, Session
from weighbridge.core.batches import answers, count, is_one_sample, join, nbytes, samples_first, shapes, take
from weighbridge.core.errors import StageError
from weighbridge.core.layout import Batch, Labelled
from weighbridge.core.ragged import join_outputs
from weighbridge.core.signal_to_noise import SignalToNoise
from weighbridge.core.splits import Split, form, join_labelled
from weighbridge.steps.calibration import BYTES, MOST

JUDGED, RANKED = 256, 8
"""Samples that an artifact is judged on, and that layers are ranked on."""
ROOM = 2**29
"""Bytes that the judged samples may take with the original's outputs; then they are fewer."""
_DROP, _RELATIVE, _FLOOR, _FIDELITY = "accuracy_drop", "relative_accuracy_drop", "accuracy", "fidelity"
_MARGIN_DB = 1.0
"""Above the case's `fidelity`, since its samples are others."""


@dataclass(frozen=True)
class _Batch:
    inputs: Inputs
    targets: Array | None
    outputs: tuple[Array, ...]
    """The original's."""


class Judge:
    """Judges by the metric where samples are labelled, unless the case limits `fidelity` alone; else by the outputs.

    A loss is how much worse the metric is than the original's, or the noise of the outputs in dB: less is better.
    Raises `StageError` where the metric raises, or where the original's outputs are no signal.
    """

    def __init__(self, context: Context, original: Session, drop: float) -> None:
        self._names: Sequence[str] = getattr(original, "outputs", ())
        self._batches = list(_judged(context, original))
        self._few = list(_few(self._batches, original))
        most = {name: context.limits[name].max for name in (_DROP, _RELATIVE) if name in context.limits}
        least = context.limits[_FIDELITY].min if _FIDELITY in context.limits else None
        labelled = all(batch.targets is not None for batch in self._batches)
        floor = context.limits.get(_FLOOR)
        by_outputs = least is not None and not most and floor is None
        self._lacking = ", which have no targets:" if (most or floor) and not labelled else ""
        self._short = ""
        self._metric = context.metric if labelled and not by_outputs else None
        if self._metric is None:
            self._limit = 10 * math.log10(drop) if least is None else -(least + _MARGIN_DB)
            return
        self._value = self._score(self._metric, [batch.outputs for batch in self._batches])
        self._refuse_chance(self._metric)
        scale = 1.0 if self._metric.binary else abs(self._value) or 1.0
        stated = [
            limit / 2 * (abs(self._value) if name == _RELATIVE else 1)
            for name, limit in most.items()
            if limit is not None
        ]
        if floor is not None:
            stated += self._above(self._metric, floor)
        self._limit = min(stated, default=drop * scale)

    def _above(self, metric: Metric, floor: Limit) -> list[float]:
        """Half of what the original has to lose down to the case's `accuracy`; nothing where it is beyond that itself."""
        bound = floor.min if metric.higher_is_better else floor.max
        if bound is None:
            return []
        room = (self._value - bound) * (1 if metric.higher_is_better else -1)
        if room < 0:
            self._short = f"; the float model itself misses `{_FLOOR}` {bound:.4g} there"
            return []
        return [room / 2]

    def _refuse_chance(self, metric: Metric) -> None:
        """A model that guesses loses nothing: raises `StageError` where the original itself has no answer right by more."""
        if not metric.binary:
            return
        tally = metric.tally()
        for batch in self._batches:
            tally.add(np.asarray(batch.targets))
        chance = tally.chance()
        if chance is not None and (tally.classes or 0) > 1 and self._value <= chance:
            raise StageError(
                "data",
                f"on the calibration split the float model itself has {metric.name} {self._value:.3g}, and always giving the "
                f"most frequent answer {chance:.3g}, so nothing can be judged there: are its targets those of its inputs?",
            )

    @property
    def limit(self) -> str:
        return f"{_DROP} {self._limit:.3g}" if self._metric else f"{_FIDELITY} {-self._limit:.1f} dB"

    def holds(self, loss: float) -> bool:
        return loss <= self._limit

    def said(self, loss: float) -> str:
        n = sum(count(batch.inputs) for batch in self._batches)
        samples = f"{n} samples of the calibration split"
        if self._metric is None:
            return f"{_FIDELITY} on {samples}{self._lacking} {-loss:.1f} dB"
        after = self._value - loss if self._metric.higher_is_better else self._value + loss
        few = (
            f" (so few cannot tell a loss of {self._limit:.3g})"
            if self._metric.binary and self._limit * n < 1
            else ""
        )
        return f"{self._metric.name} on {samples} {self._value:.4g} before and {after:.4g} after{few}{self._short}"

    def loss(self, session: Session) -> float:
        """Infinity where outputs have other shapes, or the metric has no value."""
        outputs = (session.run(batch.inputs) for batch in self._batches)
        if self._metric is not None:
            change = self._score(self._metric, outputs) - self._value
            loss = -change if self._metric.higher_is_better else change
            return math.inf if math.isnan(loss) else loss
        noise = SignalToNoise()
        for batch, found in zip(self._batches, outputs, strict=True):
            if [each.shape for each in batch.outputs] != [each.shape for each in found]:
                return math.inf
            noise.add(batch.outputs, found)
        return -noise.worst()

    def noise(self, session: Session) -> float:
        """Share of the outputs that is lost on few samples, from 0 to 1, for the ranking of layers."""
        shares = [noise_share(batch.outputs, session.run(batch.inputs)) for batch in self._few]
        return sum(shares) / len(shares)

    def _score(self, metric: Metric, outputs: Iterable[tuple[Array, ...]]) -> float:
        """The metric over all batches, of which only those outputs are kept that it needs as a whole."""
        scores, kept = [], []
        try:
            for batch, found in zip(self._batches, outputs, strict=True):
                target = np.asarray(batch.targets)
                given = answers(samples_first(found, self._names, batch.inputs), len(target))
                score = metric.per_sample(given, target)
                if score is not None:
                    scores.append(score)
                else:
                    kept.append((given, target))
            if scores:
                return float(np.concatenate(scores).mean())
            return float(metric.whole(*join_outputs(kept)))
        except StageError:
            raise
        except Exception as error:  # the user's own code
            raise StageError(
                "quantize", f"metric {metric.name} raised {type(error).__name__}: {error}"
            ) from error


def _judged(context: Context, original: Session) -> Iterator[_Batch]:
    """The chosen samples in batches of few bytes as calibration has them, as far as `ROOM` goes."""
    room = ROOM
    for inputs, targets in _gathered(context.data.split("calibration")):
        n = count(inputs)
        # No sample is left alone, where there are several: a model whose last layer squeezes would lose the batch's axis.
        size = max(3, min(MOST, BYTES * n // max(nbytes(inputs, None), 1)))
        for rows in np.array_split(np.arange(n), -(-n // size)):
            some, wanted, _ = Batch(inputs, targets).rows(rows)
            outputs = original.run(some)
            yield _Batch(some, wanted, outputs)
            room -= nbytes(some, None) + sum(each.nbytes for each in outputs)
            if room <= 0:
                return


def _gathered(split: Split) -> Iterator[Labelled]:
    """The chosen samples with their targets: those in a row that can stand in one batch do, from however far apart."""
    for _, alike in groupby(enumerate(_chosen(split)), _shared):
        yield join_labelled([batch for _, batch in alike], split.name)


def _shared(numbered: tuple[int, Labelled]) -> tuple[object, ...]:
    """What batches share that can be one; a batch that is one sample without a batch axis is like no other."""
    number, batch = numbered
    return number if is_one_sample(batch[0]) else None, form(batch)


def _chosen(split: Split) -> Iterator[Labelled]:
    """Samples of the whole split, which is often sorted by class; of one that does not tell its length, the first."""
    left, room = JUDGED, ROOM
    step, seen = max(1, -(-(split.length or 0) // JUDGED)), 0
    for inputs, targets in split.batches(MOST):
        rows = np.arange(-seen % step, count(inputs), step)[:left]
        seen += count(inputs)
        if not rows.size:
            continue
        some = Batch(inputs, targets).rows(rows)
        yield some[:2]
        left -= rows.size
        room -= nbytes(some.inputs, None)
        if left <= 0 or room <= 0:
            return


def _few(batches: Sequence[_Batch], original: Session) -> Iterator[_Batch]:
    """About `RANKED` samples, spread over the batches; those of one shape in one batch, in which a channel varies."""
    spread = batches[:: max(1, len(batches) // RANKED)][:RANKED]
    pieces = [take(batch.inputs, slice(0, -(-RANKED // len(spread)))) for batch in spread]
    for _, alike in groupby(pieces, shapes):
        some = join(list(alike))
        yield _Batch(some, None, original.run(some))


def noise_share(before: Sequence[Array], after: Sequence[Array]) -> float:
    """How much of the outputs is lost, from 0 to 1; of the output that loses most.

    Each channel counts alike, however small its numbers: a detector gives coordinates of hundreds beside scores of less
    than one, in one tensor. Of whole numbers, it is the share that changed.
    """
    worst = 0.0
    for a, b in zip(before, after, strict=True):
        if a.shape != b.shape:
            return 1.0
        if a.dtype.kind != "f":
            worst = max(worst, float((a != b).mean()) if a.size else 0.0)
            continue
        for axis in {min(1, a.ndim - 1), a.ndim - 1}:
            others = tuple(index for index in range(a.ndim) if index != axis)
            error = np.square(a.astype(np.float64) - b).sum(others)
            alone = a.size == a.shape[axis]  # a number a channel varies with nothing
            centre = 0.0 if alone else a.mean(others, keepdims=True)
            spread = np.square(a - centre, dtype=np.float64).sum(others)
            with np.errstate(invalid="ignore"):
                lost = np.nan_to_num(np.where(error == 0, 0.0, error / (error + spread)), nan=1.0)
            worst = max(worst, float(lost.mean()) if lost.size else 0.0)
    return worst
