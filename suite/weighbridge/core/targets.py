"""Targets as numbers, in the forms that people keep them."""

from __future__ import annotations

import contextlib

import numpy as np

from weighbridge.core.arrays import Array
from weighbridge.core.errors import StageError

_EXACT = 2**53
"""Larger whole numbers are not told from their neighbours in float64."""


def class_numbers(targets: Array, who: str) -> Array:
    """The class of each sample, shape [N], int64: from numbers, whole floats, a column, or one-hot rows.

    Raises `StageError` for anything else.
    """
    wanted = numbers(targets, who).reshape(len(targets), -1)
    _refuse_unlike_classes(wanted, who)
    if wanted.shape[1] > 1:
        _refuse_several(wanted, who)
        return np.asarray(wanted.argmax(1))
    return np.asarray(wanted[:, 0].astype(np.int64))


def _refuse_unlike_classes(wanted: Array, who: str) -> None:
    """Raise `StageError` for NaN and infinity, which would pass for a row's largest; and for a fraction or a number that
    is too large to be told from its neighbours, where it is to name a class.
    """
    odd, exact = ~np.isfinite(wanted), np.iinfo(np.int64).max
    if wanted.dtype.kind == "f":
        wanted, exact = wanted.astype(np.float64), _EXACT
    if wanted.shape[1] == 1:
        odd |= (wanted != np.floor(wanted)) | (wanted > exact) | (wanted < -exact)
    if odd.any():
        raise StageError(
            "data",
            f"{who} needs class numbers, and a target is {wanted[odd][0]:.6g}; for a regression say `metric: mse`",
        )


def _refuse_several(rows: Array, who: str) -> None:
    """Raise `StageError` where a row marks several classes, or none: its first would pass for the sample's only one."""
    largest = rows.max(1)
    shares = (rows.min(1) >= 0) & np.isclose(
        rows.sum(1), 1
    )  # between equal ones the first is as good as another
    unclear = ((rows == largest[:, None]).sum(1) > 1) & ~shares
    if unclear.any():
        row = rows[unclear][0]
        shown = ", ".join(f"{value:g}" for value in row[:8]) + (", ..." if len(row) > 8 else "")
        raise StageError(
            "data",
            f"{who} wants one class a sample, and the target [{shown}] marks "
            f"{'several' if largest[unclear][0] > 0 else 'none'}; for several labels a sample "
            + (
                "write your own, `loss: file.py:function`"
                if who.startswith("loss")
                else f"say `metric: {{torchmetrics: MultilabelF1Score, num_labels: {len(row)}}}`, or write your own, "
                "`metric: file.py:function`"
            ),
        )


def numbers(targets: Array, who: str) -> Array:
    """`targets`, which are numbers (or text that spells whole ones); raises `StageError` otherwise."""
    if targets.dtype.kind in "biuf":
        return targets
    if targets.dtype.kind == "U" and targets.size and np.char.isdecimal(targets).all():
        with contextlib.suppress(OverflowError):  # beyond 64 bits
            return targets.astype(np.int64)
    raise StageError(
        "data",
        f"{who} needs numbers as targets, and the data gives {targets.dtype.type.__name__} such as "
        f"{targets.ravel()[:1].tolist()[0]!r}; map them to class numbers",
    )
