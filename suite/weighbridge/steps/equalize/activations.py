"""What dense layers read, as samples show it, and the noise that rounding it and their weights to 8 bits leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from weighbridge.contracts import Array

ROWS = 512
"""Of an activation at most, for its noise: the mean over so many tells scales apart."""


@dataclass
class Activation:
    """The values of one activation, with its channels last."""

    low: Array
    """The least of each channel, [channels], 0 at most."""
    high: Array
    """The largest, 0 at least."""
    rows: Array
    """Some of the values, [n, channels]: those of later calls more than of earlier ones."""

    @staticmethod
    def of(width: int) -> Activation:
        """Nothing seen yet."""
        return Activation(np.zeros(width), np.zeros(width), np.empty((0, width)))

    def add(self, values: Array, axis: int) -> None:
        """Values of any shape with the channels along `axis`."""
        seen = np.moveaxis(values, axis, -1).reshape(-1, len(self.low))
        self.low = np.minimum(self.low, seen.min(0, initial=0))
        self.high = np.maximum(self.high, seen.max(0, initial=0))
        self.rows = _spread(np.concatenate([self.rows, _spread(seen)]))

    @property
    def reach(self) -> Array:
        """The largest magnitude of each channel, [channels]."""
        found: Array = np.maximum(-self.low, self.high)
        return found


def rounding_noise(seen: Activation, weights: Sequence[Array], scale: Array | None) -> float:
    """Power of the noise over that of the signal, of the worst of the layers that multiply the rows by `weights`, each
    [channels, ...], where the activation is divided by `scale`, [channels], and the weights are multiplied by it.

    The activation has one scale of 8 bits for its whole range, a weight one for each of its columns.
    """
    scale = np.ones(len(seen.low)) if scale is None else scale
    low, high = (seen.low / scale).min(), (seen.high / scale).max()
    step = (high - low) / 255 or 1.0
    rows = np.rint(seen.rows / scale / step) * step
    worst = 0.0
    for weight in weights:
        columns = weight.reshape(len(scale), -1).astype(np.float64)
        signal = seen.rows @ columns
        scaled = columns * scale[:, None]
        steps = np.abs(scaled).max(0) / 127
        steps[steps == 0] = 1.0
        noise = rows @ (np.rint(scaled / steps) * steps) - signal
        worst = max(worst, float(np.square(noise).sum() / (np.square(signal).sum() or 1.0)))
    return worst


def _spread(rows: Array) -> Array:
    """At most `ROWS` of them, evenly taken."""
    if len(rows) <= ROWS:
        return rows
    some: Array = rows[np.linspace(0, len(rows) - 1, ROWS).round().astype(int)]
    return some
