"""Targets as numbers, in the forms that people keep them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from weighbridge.core.arrays import Array
from weighbridge.core.errors import StageError

_EXACT = 2**53
"""Larger whole numbers are not told from their neighbours in float64."""


@dataclass(frozen=True)
class Reader:
    """What of a case reads targets, for what is said of those that it cannot read."""

    kind: Literal["metric", "loss"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"


def class_numbers(targets: Array, reader: Reader) -> Array:
    """The class of each sample, shape [N], int64: from numbers, whole floats, a column, or one-hot rows.

    Raises `StageError` for anything else.
    """
    wanted = numbers(targets, reader).reshape(len(targets), -1)
    _refuse_unlike_classes(wanted, reader)
    if wanted.shape[1] > 1:
        _refuse_several(wanted, reader)
        return np.asarray(wanted.argmax(1))
    return np.asarray(wanted[:, 0].astype(np.int64))


def _refuse_unlike_classes(wanted: Array, reader: Reader) -> None:
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
            f"{reader} needs class numbers, and a target is {wanted[odd][0]:.6g}; for a regression say `{reader.kind}: mse`",
        )


def _refuse_several(rows: Array, reader: Reader) -> None:
    """Raise `StageError` where a row marks several classes, or none: its first would pass for the sample's only one."""
    largest = rows.max(1)
    shares = (rows.min(1) >= 0) & np.isclose(rows.sum(1), 1)  # of equal ones the first is as good as another
    unclear = ((rows == largest[:, None]).sum(1) > 1) & ~shares
    if unclear.any():
        row = rows[unclear][0]
        several = f"say `metric: {{torchmetrics: MultilabelF1Score, num_labels: {len(row)}}}`, or "
        known = several if reader.kind == "metric" else ""
        shown = ", ".join(f"{value:g}" for value in row[:8]) + (", ..." if len(row) > 8 else "")
        raise StageError(
            "data",
            f"{reader} wants one class a sample, and the target [{shown}] marks "
            f"{'several' if largest[unclear][0] > 0 else 'none'}; for several labels a sample {known}write your own, "
            f"`{reader.kind}: file.py:function`",
        )


def numbers(targets: Array, reader: Reader) -> Array:
    """`targets`, which are numbers (or text that spells whole ones); raises `StageError` otherwise."""
    if targets.dtype.kind in "biuf":
        return targets
    if targets.dtype.names:
        raise StageError(
            "data",
            f"{reader} wants one target a sample, and the data gives {len(targets.dtype.names)} by name: "
            f"{', '.join(targets.dtype.names)}; write your own, `{reader.kind}: file.py:function`, which is given the "
            f"targets and reads targets['{targets.dtype.names[0]}']",
        )
    if targets.dtype.kind == "U" and targets.size and np.char.isdecimal(targets).all():
        with contextlib.suppress(OverflowError):  # beyond 64 bits
            return targets.astype(np.int64)
    raise StageError(
        "data",
        f"{reader} needs numbers as targets, and the data gives {targets.dtype.type.__name__} such as "
        f"{targets.ravel()[:1].tolist()[0]!r}; map them to class numbers",
    )
