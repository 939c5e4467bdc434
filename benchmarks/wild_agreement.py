"""How much of the float model's answer another model gives, as its user reads it: 1 is the same, NaN says nothing.

The outputs themselves would be the wrong thing to compare: a user reads a class, a text, what was found where. Where both
models find nothing, a sample is no evidence either way, and an average over many such would flatter every route.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = Sequence[NDArray[Any]]
Agreement = Callable[[Outputs, Outputs], float]
"""Of the float model's outputs for one sample and the other model's."""


def top1(a: Outputs, b: Outputs) -> float:
    """Whether the likeliest class is the same; output 0, [1, classes]."""
    return float(a[0].argmax() == b[0].argmax())


def text(which: int = 0) -> Agreement:
    """Share of the steps with the same likeliest character, of those that either reads as one; class 0 is blank.

    Output `which`: [1, steps, characters], or [steps, 1, characters].
    """

    def agreement(a: Outputs, b: Outputs) -> float:
        if a[which].shape != b[which].shape:
            return 0.0  # of a model that itself ends the text
        x, y = a[which].argmax(-1), b[which].argmax(-1)
        read = (x != 0) | (y != 0)
        return float((x == y)[read].mean()) if read.any() else math.nan

    return agreement


def found(take: Callable[[Outputs], NDArray[Any]], level: float) -> Agreement:
    """Of what either finds, twice what both find by the sum of what each finds (Dice, F1); found is what is above `level`.

    For detectors this counts raw candidates, before those of one object are merged: stricter than boxes.
    """

    def agreement(a: Outputs, b: Outputs) -> float:
        x, y = take(a) > level, take(b) > level
        either = int(x.sum() + y.sum())
        return 2 * int((x & y).sum()) / either if either else math.nan

    return agreement


def near(tolerance: float) -> Agreement:
    """Share of the numbers within `tolerance`: for models whose answer is a score or a gain. Output 0."""
    return lambda a, b: float((np.abs(a[0] - b[0]) <= tolerance).mean())
