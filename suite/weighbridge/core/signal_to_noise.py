"""Signal to quantization noise of a model's outputs, in dB, over a few samples of the case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from weighbridge.core.arrays import Array, Inputs, are_choices, is_text
from weighbridge.core.batches import count, take
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError

IDENTICAL = 200.0  # dB: float32 cannot tell more apart
_BATCH = 64  # drawn samples a call, as many as a split gives


class SignalToNoise:
    """10 log10(sum(reference^2) / sum((reference - output)^2)) of each output, summed over batches."""

    def __init__(self) -> None:
        self._signals: list[float] = []
        self._noises: list[float] = []

    def add(self, reference: Sequence[Array], outputs: Sequence[Array]) -> None:
        """One batch's outputs of both; raises `StageError` where their shapes differ."""
        if [a.shape for a in reference] != [a.shape for a in outputs]:
            ours, theirs = (", ".join(str(a.shape) for a in side[:4]) for side in (outputs, reference))
            more = ", ..." if max(len(outputs), len(reference)) > 4 else ""
            hint = (
                "; of a detector that keeps as many boxes as it is sure of, compare the outputs before they are picked, or "
                "judge a metric of your own"
                if len(outputs) == len(reference)
                else f": {len(outputs)} against {len(reference)} outputs"
            )
            raise StageError(
                "measure",
                f"the candidate's outputs have shapes {ours}{more}, the baseline's {theirs}{more}{hint}",
            )
        pairs = [
            _comparable(number, a, b) for number, (a, b) in enumerate(zip(reference, outputs, strict=True))
        ]
        self._signals = _added(self._signals, [np.square(a, dtype=np.float64).sum() for a, _ in pairs])
        self._noises = _added(self._noises, [np.square(a.astype(np.float64) - b).sum() for a, b in pairs])

    @property
    def finite(self) -> bool:
        """Whether the reference is; of the outputs, what is not counts as noise."""
        return bool(np.all(np.isfinite(self._signals)))

    @property
    def identical(self) -> bool:
        return not any(self._noises)

    def outputs(self) -> list[float]:
        """Each output's figure, in dB."""
        return [_decibels(signal, noise) for signal, noise in zip(self._signals, self._noises, strict=True)]

    def worst(self) -> float:
        """The worst output's figure; raises `StageError` where the reference has no signal.

        One sum over all outputs would hide an output that is ruined behind another whose numbers are larger. An output
        of the reference that is all zero has no signal to compare with, and is left out where another has one.
        """
        if not self.finite or not any(self._signals):
            raise StageError(
                "measure",
                f"the baseline's outputs are {'all zero' if self.finite else 'not finite'}, so there is no signal to "
                "compare with",
            )
        found = zip(self.outputs(), self._signals, strict=True)
        return min(value for value, signal in found if signal or value < 0)


def _comparable(number: int, reference: Array, output: Array) -> tuple[Array, Array]:
    """Both as numbers: a name is right or not, and so is a class's number. Raises `StageError` where only one is text."""
    if is_text(reference) != is_text(output):
        who, other = ("baseline", "candidate") if is_text(reference) else ("candidate", "baseline")
        raise StageError(
            "measure", f"output {number} of the {who} holds text, and that of the {other} numbers"
        )
    if is_text(reference) or (are_choices(reference) and are_choices(output)):
        return np.ones(reference.shape), np.asarray(reference == output, np.float64)
    return reference, output


def batches_of(data: Data, samples: int) -> Iterator[Inputs]:
    """The first `samples` of the test split, batch by batch; drawn ones where the case's inputs are invented."""
    if data.invented:
        drawn = data.sample(samples)
        for start in range(0, samples, _BATCH):
            yield take(drawn, slice(start, min(start + _BATCH, samples)))
        return
    seen = 0
    for inputs, _ in data.split("test").batches():
        yield take(inputs, slice(samples - seen))
        seen += count(inputs)
        if seen >= samples:
            return


def _added(total: list[float], more: Sequence[float]) -> list[float]:
    return [a + float(b) for a, b in zip(total or [0.0] * len(more), more, strict=True)]


def _decibels(signal: float, noise: float) -> float:
    """Between `-IDENTICAL` and `IDENTICAL`; an output that was all zero and is not any more is all noise."""
    if noise == 0:
        return IDENTICAL
    if signal == 0 or not np.isfinite(noise):
        return -IDENTICAL
    return min(10 * float(np.log10(signal / noise)), IDENTICAL)
