"""Whether two models give the same answers, but for the order in which they round."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weighbridge.contracts import Array

ALIKE_DB = 60.0
"""Of the differences between samples: rounding in another order leaves more than this, another weight less."""


def alike(one: Array, other: Array, eps: float) -> bool:
    """By what differs from sample to sample: answers that are nearly the same for all would hide any difference.

    Both are [samples, …], computed in numbers that round by `eps`.
    """
    import numpy as np

    if one.shape != other.shape:
        return False
    if not one.ndim:
        return True
    signal = np.nan_to_num(one.astype(np.float64))
    noise = np.square(signal - np.nan_to_num(other.astype(np.float64))).sum()
    rounding = 1e4 * eps**2 * np.square(signal).sum()
    told = np.square(signal - signal.mean(0)).sum()
    return bool(noise <= 10 ** (-ALIKE_DB / 10) * told + rounding)
