"""Targets counted batch by batch: the score of the best answer that ignores its inputs, in bounded memory."""

from __future__ import annotations

from collections import Counter

import numpy as np

from weighbridge.contracts import Array
from weighbridge.core.targets import Reader, class_numbers

MOST = 16 * 2**20
"""So many numbers of the targets are kept for a median: a sample of the rows where there are more."""


class NoTally:
    """Of a user's own metric nobody knows what guessing scores."""

    classes = None

    def add(self, targets: Array) -> None:
        pass

    def chance(self) -> None:
        return None


class ClassTally:
    """The share of the `k` most frequent classes."""

    def __init__(self, metric: str, k: int) -> None:
        self._metric, self._k = metric, k
        self._counts: Counter[int] = Counter()

    @property
    def classes(self) -> int:
        return len(self._counts)

    def add(self, targets: Array) -> None:
        labels, counts = np.unique(class_numbers(targets, Reader("metric", self._metric)), return_counts=True)
        self._counts.update(dict(zip(labels.tolist(), counts.tolist(), strict=True)))

    def chance(self) -> float:
        best = sum(count for _, count in self._counts.most_common(self._k))
        return best / self._counts.total()


class SquareTally:
    """The squared error of the best constant output, the mean, position by position.

    Means and squares of batches are merged as in Chan, Golub and LeVeque 1979, which loses no digits.
    """

    classes = None

    def __init__(self) -> None:
        self._uneven = False
        self._n = 0
        self._mean: Array = np.zeros(1)
        self._squares: Array = np.zeros(1)

    def add(self, targets: Array) -> None:
        flat = targets.reshape(len(targets), -1).astype(np.float64)
        self._uneven |= bool(self._n) and flat.shape[1] != self._mean.size
        if self._uneven:
            return  # of varying length: no position to speak of
        mean, n, total = flat.mean(0), len(flat), self._n + len(flat)
        gap = mean - self._mean
        self._squares = self._squares + np.square(flat - mean).sum(0) + gap**2 * (self._n * n / total)
        self._mean = self._mean + gap * (n / total)
        self._n = total

    def chance(self) -> float | None:
        return None if self._uneven else float(self._squares.mean() / self._n)


class AbsoluteTally:
    """The absolute error of the best constant output, the median, position by position.

    A median needs the numbers themselves. Where they are more than `MOST`, a random sample of the rows stands for all.
    """

    classes = None

    def __init__(self) -> None:
        self._rows: list[Array] = []
        self._seen = 0
        self._random = np.random.default_rng(0)

    def add(self, targets: Array) -> None:
        for row in targets.reshape(len(targets), -1):
            self._seen += 1
            if (len(self._rows) + 1) * row.size <= MOST or not self._rows:
                self._rows.append(row.copy())
            elif (place := int(self._random.integers(self._seen))) < len(self._rows):
                self._rows[place] = row.copy()

    def chance(self) -> float | None:
        if len({row.size for row in self._rows}) != 1:
            return None
        rows = np.stack(self._rows)
        gaps = [np.abs(column - np.median(column)).mean() for column in rows.T.astype(np.float64)]
        return float(np.mean(gaps))
