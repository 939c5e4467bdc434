"""The output error that each layer causes alone: the float model with one layer as the candidate has it.

This is the sensitivity by which mixed precision is assigned. The error at a layer's own output would not do: whatever
follows a ruined layer is ruined too, and an outlier channel that the next layer scales down hides the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from weighbridge.contracts import Array, Engine, Session
from weighbridge.core.arrays import is_text
from weighbridge.core.batches import count, take
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.layer_errors import LayerError, LayerErrors
from weighbridge.core.results import Artifact
from weighbridge.core.signal_to_noise import SignalToNoise, batches_of

SAMPLES, LOOKED_AT = 64, 256
"""Those that lost most, of so many: an activation past its range may ruin a few samples and no other."""


class OutputError:
    """The float model's outputs on the samples where `candidate` lost most, and how far another's are from them."""

    def __init__(
        self, engine: Engine, options: Any, original: Artifact, candidate: Artifact, data: Data
    ) -> None:
        self.engine, self.options, self.original, self.inputs = engine, options, original, data.kind
        before, after = engine.open(original, options), engine.open(candidate, options)
        batches = list(batches_of(data, LOOKED_AT))
        lost = [_lost(before.run(inputs), after.run(inputs), count(inputs)) for inputs in batches]
        least = np.sort(np.concatenate(lost))[-SAMPLES:][0]
        chosen = [np.flatnonzero(one >= least) for one in lost]
        self._batches = [
            take(inputs, rows) for inputs, rows in zip(batches, chosen, strict=True) if rows.size
        ]
        self._outputs = [before.run(inputs) for inputs in self._batches]

    @property
    def samples(self) -> int:
        return sum(map(count, self._batches))

    def of(self, session: Session) -> float:
        """Signal to noise of `session`'s outputs, in dB; raises `StageError` where they cannot be compared."""
        noise = SignalToNoise()
        for inputs, outputs in zip(self._batches, self._outputs, strict=True):
            noise.add(outputs, session.run(inputs))
        return noise.worst()

    def of_artifact(self, artifact: Artifact) -> float:
        return self.of(self.engine.open(artifact, self.options))

    def by_layer(self, found: LayerErrors, candidate: Artifact, deadline: float) -> LayerErrors:
        """`found` with the layers that the engine can exchange, worst first; those reached before `time.monotonic()`
        is `deadline`.
        """
        errors: dict[str, LayerError] = {}
        complete = True
        for one in self.engine.mixed(self.original, candidate, self.options):
            if time.monotonic() > deadline:
                complete = False
                break
            try:
                error = self.of(one.session)
            except StageError:  # a layer that lost channels does not fit the others
                continue
            known = errors.get(one.layer)
            place = known.place if known else len(errors)
            if known is None or error < known.sqnr_db:
                errors[one.layer] = LayerError(one.layer, one.kind, error, place)
        ranked = tuple(sorted(errors.values(), key=lambda layer: layer.sqnr_db))
        return replace(found, layers=ranked, complete=complete)


def _lost(before: Sequence[Array], after: Sequence[Array], n: int) -> Array:
    """The noise of each of n samples, of its worst output, as a share of what that output holds on average; [n]."""
    worst = np.zeros(n)
    for a, b in zip(before, after, strict=False):
        if a.shape != b.shape or len(a) != n or is_text(a):
            continue  # whoever compares the outputs says so
        with np.errstate(invalid="ignore", over="ignore"):
            noise = np.square(a.astype(np.float64) - b).reshape(n, -1).sum(axis=1)
            signal = np.square(a, dtype=np.float64).sum() / n
        worst = np.maximum(worst, np.nan_to_num(noise / (signal or 1.0), nan=np.inf))
    return worst
