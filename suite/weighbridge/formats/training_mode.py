"""Files that compute as in training: a batch normalization takes its mean and variance from the batch that it is in, and a
dropout draws. Accuracy on large batches hardly shows it; a batch of one, in use, does.
"""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.core.errors import StageError
from weighbridge.core.listed import few

REMEDY = "call `model.eval()` before the export, and leave `training` out"


def check_training(candidate: Sequence[str], original: Sequence[str]) -> None:
    """Raise `StageError` where the candidate computes as in training, in these operators, and the original does not."""
    if candidate and not original:
        raise StageError(
            "open",
            f"the candidate was exported in training mode, and the original was not: {few(candidate)}. Its answers depend "
            f"on what else is in the batch, or are drawn; {REMEDY}",
        )
