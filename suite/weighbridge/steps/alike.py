"""Whether two models give the same answers, but for the order in which they round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weighbridge.contracts import Array

ALIKE_DB = 60.0
"""Of the differences between samples: rounding in another order leaves more than this, another weight less."""


def same_answers(pairs: Sequence[tuple[Array, Array, float | None]]) -> bool:
    """Whether all outputs are `alike`, of which each comes with what its numbers round by, None for whole numbers.

    Whole numbers, as of an ArgMax, may flip by rounding: they are asked, and exactly, only where there is nothing else.
    """
    import numpy as np

    floats = [(one, other, eps) for one, other, eps in pairs if eps is not None]
    if floats:
        return all(alike(one, other, eps) for one, other, eps in floats)
    return all(np.array_equal(one, other) for one, other, _ in pairs)


def alike(one: Array, other: Array, eps: float) -> bool:
    """By what differs from sample to sample: answers that are nearly the same for all would hide any difference.

    Both are [samples, …], computed in numbers that round by `eps`.
    """
    import numpy as np

    if one.shape != other.shape:
        return False
    if not one.ndim:
        return True
    signal, found = one.astype(np.float64), other.astype(np.float64)
    odd = ~np.isfinite(signal)
    if not np.array_equal(signal[odd], found[odd], equal_nan=True) or not np.isfinite(found[~odd]).all():
        return False
    signal[odd] = found[odd] = 0.0
    noise = np.square(signal - found).sum()
    rounding = 1e4 * eps**2 * np.square(signal).sum()
    told = np.square(signal - signal.mean(0)).sum()
    return bool(noise <= 10 ** (-ALIKE_DB / 10) * told + rounding)
