"""Whether a converted or compiled model computes what the model it came from computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weighbridge.core.errors import StageError

if TYPE_CHECKING:
    from weighbridge.core.arrays import Array

TOLERANCE = 1e-3
"""Of an output's largest number: float32 sums in another order differ by about 1e-6 of it, a wrong layout by about 1."""


def check_agreement(
    outputs: Sequence[Array], expected: Sequence[Array], converted: str, origin: str
) -> float:
    """The largest difference; raises `StageError` where an output is off by more than `TOLERANCE`.

    `outputs` are the converted model's and `expected` the original's on the same samples; `converted` and `origin`
    name the two in a sentence. Infinities and NaN agree with themselves: a mask of -inf is no difference.
    """
    import numpy as np

    if len(outputs) != len(expected):
        raise StageError(
            "export", f"the {converted} has {len(outputs)} outputs, the {origin} model {len(expected)}"
        )
    largest = 0.0
    for index, (have, want) in enumerate(zip(outputs, expected, strict=True)):
        if have.shape != want.shape:
            raise StageError(
                "export",
                f"output {index} is {list(have.shape)} in the {converted} and {list(want.shape)} in {origin}",
            )
        ours, theirs = have.astype(np.float64), want.astype(np.float64)
        differ = ~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
        difference = float(np.abs(ours[differ] - theirs[differ]).max(initial=0))
        scale = float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0)) or 1.0
        if not difference <= TOLERANCE * scale:  # so that NaN on one side only is a difference
            raise StageError(
                "export",
                f"output {index} of the {converted} differs from {origin}'s by up to {difference:.3g}, over "
                f"{len(want) if want.ndim else 1} samples; the largest number of {origin}'s is {scale:.3g}",
            )
        largest = max(largest, difference)
    return largest
