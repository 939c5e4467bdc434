"""Targets as numbers, in the forms that people keep them."""

from __future__ import annotations

import numpy as np

from weighbridge.core.arrays import Array
from weighbridge.core.errors import StageError


def class_numbers(targets: Array, who: str) -> Array:
    """The class of each sample, shape [N], int64: from numbers, whole floats, a column, or one-hot rows.

    Raises `StageError` for anything else.
    """
    wanted = numbers(targets, who).reshape(len(targets), -1)
    if wanted.shape[1] > 1:
        _refuse_several(wanted, who)
        return np.asarray(wanted.argmax(1))
    labels = wanted[:, 0]
    whole = labels.astype(np.int64) if np.isfinite(labels).all() else None
    if whole is None or (whole != labels).any():
        odd = labels[~np.isfinite(labels) | (labels != np.floor(labels))][0]
        raise StageError(
            "data",
            f"{who} needs class numbers, and a target is {odd:.6g}; for a regression say `metric: mse`",
        )
    return whole


def _refuse_several(rows: Array, who: str) -> None:
    """Raise `StageError` where a row marks several classes, or none: its first would pass for the sample's only one."""
    largest = rows.max(1)
    unclear = ((rows == largest[:, None]).sum(1) > 1) & ~np.isclose(rows.sum(1), 1)
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
    if targets.dtype.names:
        raise StageError(
            "data",
            f"{who} wants one target a sample, and the data gives {len(targets.dtype.names)} by name: "
            f"{', '.join(targets.dtype.names)}; write your own, `file.py:function(outputs, targets)`, which reads "
            f"targets['{targets.dtype.names[0]}']",
        )
    if targets.dtype.kind == "U" and targets.size and np.char.isdigit(targets).all():
        return targets.astype(np.int64)
    raise StageError(
        "data",
        f"{who} needs numbers as targets, and the data gives {targets.dtype.type.__name__} such as "
        f"{targets.flat[0]!r}; map them to class numbers",
    )
