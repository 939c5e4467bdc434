"""Whether a model answers the same samples alike when it is asked again: of one that does not, one run of many was weighed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from weighbridge.contracts import Inputs, Session
from weighbridge.core.arrays import Array, is_text
from weighbridge.core.batches import take

FEW = 4
"""Samples that are asked twice."""
UNLIKE = 1e-4
"""The power of the difference over that of the answers, 40 dB: no order of additions, and no code on an edge, comes near."""


def answers_otherwise(session: Session, inputs: Inputs) -> bool:
    """Whether the first `FEW` samples of a batch are answered otherwise the second time, beyond any rounding.

    False of a model that does not run on so few.
    """
    few = take(inputs, slice(0, FEW))
    try:
        once, again = session.run(few), session.run(few)
    except Exception:  # whatever an engine raises on a batch that nobody asked for
        return False
    return _unlike(once, again)


def tell_otherwise(who: Sequence[str]) -> Iterator[str]:
    if who:
        yield (
            f"the {' and the '.join(who)} answer{'s' if len(who) == 1 else ''} the same samples otherwise when asked again "
            "(something draws, such as a dropout that was exported or `F.dropout` without `training=self.training`, or keeps a "
            "state between calls): the figures are of one run of many; a limit on `determinism` judges it"
        )


def _unlike(once: Sequence[Array], again: Sequence[Array]) -> bool:
    if [each.shape for each in once] != [each.shape for each in again]:
        return True
    for a, b in zip(once, again, strict=True):
        if is_text(a):
            if not np.array_equal(a, b):
                return True
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(a)
        if not np.array_equal(finite, np.isfinite(b)):
            return True
        if np.square(a[finite] - b[finite]).sum() > UNLIKE * np.square(a[finite]).sum():
            return True
    return False
