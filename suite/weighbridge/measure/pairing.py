"""Whether a metric holds each sample's output against that sample's target, and not against everybody's.

`outputs - targets` of shapes [N, 1] and [N] is an array [N, N] to numpy, and its mean hardly knows the model: a ruined one
that answers the mean always looks better than the original.
"""

from __future__ import annotations

import numpy as np

from weighbridge.contracts import Array, Metric
from weighbridge.core.errors import StageError

SHUFFLES = 3
CLOSE = 1e-5
"""Relative: sums of float32 in another order."""


def check_pairing(metric: Metric, outputs: tuple[Array, ...], targets: Array) -> None:
    """Raises `StageError` where the metric is the same whoever the targets belong to, and another with them in another shape.

    The one alone may be meant, as of a metric that compares distributions; the other as well, where the shape has a meaning.
    """
    other = _in_another_shape(outputs[0], targets)
    if other is None or len(targets) < 2:
        return
    value, random = metric.whole(outputs, targets), np.random.default_rng(0)
    if any(
        not _alike(value, metric.whole(outputs, targets[random.permutation(len(targets))]))
        for _ in range(SHUFFLES)
    ):
        return
    try:
        paired = metric.whole(outputs, other)
    except Exception:  # the user's own code, which may know one shape alone
        return
    if np.isfinite(paired) and not _alike(value, paired):
        raise StageError(
            "measure",
            f"metric {metric.name} holds each output against everybody's target: with outputs of shape "
            f"{list(outputs[0].shape)} and targets of shape {list(targets.shape)} it gives {value:.4g} whichever sample the "
            f"targets belong to, and {paired:.4g} with targets of shape {list(other.shape)}; give both one shape there, such as "
            "`outputs.reshape(len(outputs), -1)[:, 0]` and `targets.reshape(-1)`",
        )


def _in_another_shape(output: Array, targets: Array) -> Array | None:
    """The targets without, or with, the axes of one that numpy would stretch; None where none would be."""
    if targets.dtype.kind not in "biuf" or output.dtype.kind not in "biuf" or targets.shape == output.shape:
        return None
    if targets.size == output.size and _long_axes(targets) == _long_axes(output):
        return targets.reshape(output.shape)
    return targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else None


def _long_axes(array: Array) -> list[int]:
    return [size for size in array.shape if size > 1]


def _alike(one: float, other: float) -> bool:
    return bool(np.isclose(one, other, rtol=CLOSE, atol=1e-12))
