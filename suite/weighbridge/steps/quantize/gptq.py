"""GPTQ: each weight is rounded so that what rounding the ones before it did to the outputs is made up for.

Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, 2022 (arXiv:2210.17323),
with the loudest inputs first. Scales and zero points are given and stay; each code is one of the two next to its number, as in
AdaRound (arXiv:2004.10568), so that an artifact can be held to the weights that it was made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weighbridge.core.errors import StageError

if TYPE_CHECKING:
    from weighbridge.contracts import Array

_AT_ONCE = 128
"""Inputs whose errors are passed on to all later ones together."""
_TRIES = 5


def rounded_together(
    weights: Array, moments: Array, scale: Array, zero_point: Array, highest: int, damping: float
) -> Array:
    """Codes of `weights`, all [outputs, inputs], from 0 to `highest`, for inputs of the second moments `moments`.

    `moments` is the sum of x x^T over samples, [inputs, inputs]; `damping` is the share of its mean diagonal that is added
    to the diagonal. Raises `StageError` where it cannot be inverted.
    """
    import numpy as np

    scale = np.where(scale > 0, scale, 1.0)  # of a block of zeros
    exact = weights.astype(np.float64) / scale + zero_point
    if not moments.any():
        return np.clip(np.rint(exact), 0, highest)
    order = np.argsort(-np.diag(moments), kind="stable")
    upper = _inverse_factor(moments[np.ix_(order, order)].astype(np.float64), damping)
    left, steps, zeros = (np.asarray(each, np.float64)[:, order] for each in (weights, scale, zero_point))
    low, high = (np.clip(found(exact[:, order]), 0, highest) for found in (np.floor, np.ceil))
    codes = np.empty_like(left)
    for start in range(0, left.shape[1], _AT_ONCE):
        end = min(start + _AT_ONCE, left.shape[1])
        errors = np.empty((len(left), end - start))
        for each in range(start, end):
            codes[:, each] = np.clip(
                np.rint(left[:, each] / steps[:, each] + zeros[:, each]), low[:, each], high[:, each]
            )
            lost = left[:, each] - (codes[:, each] - zeros[:, each]) * steps[:, each]
            errors[:, each - start] = lost / upper[each, each]
            left[:, each + 1 : end] -= np.outer(errors[:, each - start], upper[each, each + 1 : end])
        left[:, end:] -= errors @ upper[start:end, end:]
    found = np.empty_like(codes)
    found[:, order] = codes
    return found


def _inverse_factor(moments: Array, damping: float) -> Array:
    """The upper triangle U with U^T U the inverse of the damped moments; an input that is always zero counts as the mean."""
    import numpy as np

    loud = np.diag(moments)
    mean = float(loud.mean())
    silent = np.flatnonzero(loud == 0)
    moments[silent, silent] = mean
    for _ in range(_TRIES):
        try:
            damped = moments + damping * mean * np.eye(len(moments))
            found: Array = np.linalg.cholesky(np.linalg.inv(damped)).T
        except np.linalg.LinAlgError:
            damping *= 10
        else:
            return found
    raise StageError(
        "quantize", "gptq: the inputs of a layer depend on each other too much; more `damping` may help"
    )
