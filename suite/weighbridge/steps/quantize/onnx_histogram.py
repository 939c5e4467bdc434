"""The distribution of one tensor's values over any number of batches, in memory that does not grow."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from weighbridge.contracts import Array

BINS = 8192
"""Over both signs. ONNX Runtime's percentiles are of 2,048 bins over what was seen; ours are never wider than half of those."""
_LEAST = 2.0**-100
"""A smaller `top` has no reciprocal among 32-bit floats."""
_PART = 2**20
"""Values that are counted at once."""
Counts: TypeAlias = "npt.NDArray[np.float64]"


class Histogram:
    """Counts in equal bins over [-top, top), where `top` is a power of two that doubles as larger values come.

    Doubling joins bins two by two, so the counts depend neither on the order of the values nor on how they are put into
    batches. What is not finite is left out: one infinity, such as a mask's, would make every range infinite.
    """

    def __init__(self, counted: bool = True) -> None:
        """Without `counted`, only the two ends of what was seen are kept."""
        self._counted = counted
        self.low, self.high = math.inf, -math.inf
        self.top = 0.0
        self.counts: Counts = np.zeros(BINS)

    def add(self, values: Array) -> None:
        flat = values.astype(np.float32, copy=False).reshape(-1)
        for start in range(0, flat.size, _PART):
            self._add(flat[start : start + _PART])

    def magnitudes(self) -> tuple[Counts, Array]:
        """Counts and edges over [0, top], of both signs together."""
        negative, positive = np.split(self.counts, 2)
        return positive + negative[::-1], self.edges[BINS // 2 :]

    @property
    def edges(self) -> Array:
        """The limits of the bins, [BINS + 1]."""
        return np.linspace(-self.top, self.top, BINS + 1)

    def _add(self, values: Array) -> None:
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            values = values[np.isfinite(values)]
            if not values.size:
                return
            low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        if not self._counted:
            return
        self._reach(max(abs(low), abs(high)))
        if not self.top:  # nothing but zeros so far
            self.counts[BINS // 2] += values.size
            return
        # By a power of two, and rounded down before the shift: a value's bin is exact, whatever `top` was at the time. In 64
        # bits, as a 32-bit product of a value next to zero is zero, and a negative one has the bin below.
        scaled = np.multiply(values, BINS / 2 / self.top, dtype=np.float64)
        position = np.floor(scaled, out=scaled).astype(np.intp) + BINS // 2
        self.counts += np.bincount(position, minlength=BINS)

    def _reach(self, magnitude: float) -> None:
        if not magnitude or magnitude < self.top:
            return
        needed = max(2.0 ** (math.floor(math.log2(magnitude)) + 1), _LEAST)
        if self.top:
            while self.top < needed:
                middle = self.counts.reshape(-1, 2).sum(1)
                self.counts = np.concatenate([np.zeros(BINS // 4), middle, np.zeros(BINS // 4)])
                self.top *= 2
        self.top = needed
