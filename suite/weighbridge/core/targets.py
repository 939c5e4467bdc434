"""Targets as numbers, in the forms that people keep them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from weighbridge.core.arrays import Array
from weighbridge.core.errors import StageError


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
    _refuse(wanted, ~np.isfinite(wanted), reader)
    if wanted.shape[1] > 1:
        _refuse_several(wanted, reader)
        return np.asarray(wanted.argmax(1))
    whole = wanted.astype(np.int64)
    _refuse(wanted, whole != wanted, reader)
    return np.asarray(whole[:, 0])


def _refuse(wanted: Array, odd: Array, reader: Reader) -> None:
    """Raise `StageError` with the first of the `odd` ones, where there are any."""
    if odd.any():
        raise StageError(
            "data",
            f"{reader} needs class numbers, and a target is {wanted[odd][0]:.6g}; for a regression say `{reader.kind}: mse`",
        )


def _refuse_several(rows: Array, reader: Reader) -> None:
    """Raise `StageError` where a row marks several classes, or none: its first would pass for the sample's only one."""
    largest = rows.max(1)
    unclear = ((rows == largest[:, None]).sum(1) > 1) & ~np.isclose(rows.sum(1), 1)
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
    if targets.dtype.kind == "U" and targets.size and np.char.isdigit(targets).all():
        return targets.astype(np.int64)
    raise StageError(
        "data",
        f"{reader} needs numbers as targets, and the data gives {targets.dtype.type.__name__} such as "
        f"{targets.flat[0]!r}; map them to class numbers",
    )
