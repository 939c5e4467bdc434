"""Which weights, channels or blocks go: those that rank lowest, in each layer or in all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weighbridge.core.errors import StageError
from weighbridge.steps.prune.options import PruneOptions

if TYPE_CHECKING:
    from weighbridge.contracts import Array

Kept = Mapping[str, Any]
"""By layer, in the shape of its scores: True for each weight, channel or block that stays."""
_WAYS_OUT = "lower `amount`, write it as a fraction between 0 and 1, or leave the layer to `exclude`"


def rank(scores: Mapping[str, Array], options: PruneOptions, unit: str) -> tuple[Kept, list[str]]:
    """What stays of each layer, and what there is to say of it; of equal scores the first goes.

    `scores` has an array a layer, one number a `unit` ("weights"). No layer loses all of it: that would cut the network
    in two. Raises `StageError` naming the layer where an amount does not fit it.
    """
    ranked = _globally if options.scope == "global" else _locally
    return ranked(scores, options.amount, unit)


def at_most(amount: float, total: int) -> int:
    """How many whole ones of `total` a share comes to: 29 of 100 for 0.29, which is 28.999999999999996 in floats."""
    return int(round(amount * total, 6))


def _locally(scores: Mapping[str, Array], amount: float, unit: str) -> tuple[Kept, list[str]]:
    import numpy as np

    kept, notes, spared = {}, [], []
    for label, score in scores.items():
        total = score.size
        if isinstance(amount, int) and amount >= total:
            raise StageError(
                "prune",
                f"layer '{label}': amount {amount} is a number of {unit}, and it has {total:,} of them; {_WAYS_OUT}",
            )
        remove = amount if isinstance(amount, int) else round(amount * total)
        if remove == total:
            remove -= 1
            notes.append(f"{label}: {amount:.3g} of {total} {unit} are all of them; one was kept")
        if remove == 0:
            spared.append(f"{label} ({total} {unit})")
        own = np.ones(total, bool)
        own[score.reshape(-1).argsort(kind="stable")[:remove]] = False
        kept[label] = own.reshape(score.shape)
    if spared:
        notes.append(f"{', '.join(spared)} not pruned: {amount:.3g} of it is less than one")
    return kept, [*notes, *_whole(scores, amount, unit, "in each layer")]


def _globally(scores: Mapping[str, Array], amount: float, unit: str) -> tuple[Kept, list[str]]:
    import numpy as np

    joined = np.concatenate([score.reshape(-1) for score in scores.values()])
    total = joined.size
    remove = amount if isinstance(amount, int) else round(amount * total)
    if remove >= total:
        raise StageError(
            "prune",
            f"amount {amount} is to be removed from all layers together, and {', '.join(scores)} have {total:,} "
            f"{unit}; {_WAYS_OUT}",
        )
    keep = np.ones(total, bool)
    keep[joined.argsort(kind="stable")[:remove]] = False
    kept, notes = {}, []
    parts = np.split(keep, np.cumsum([score.size for score in scores.values()])[:-1])
    for (label, score), own in zip(scores.items(), parts, strict=True):
        if not own.any():
            own[score.argmax()] = True
            notes.append(f"{label} ranks lowest as a whole; one of its {score.size:,} {unit} was kept")
        kept[label] = own.reshape(score.shape)
    return kept, [*notes, *_whole(scores, amount, unit, "of all layers together")]


def _whole(scores: Mapping[str, Array], amount: float, unit: str, where: str) -> list[str]:
    """What a whole number was taken for, since `50` may have been meant as a percentage."""
    if not isinstance(amount, int):
        return []
    total = sum(score.size for score in scores.values())
    times = amount * (len(scores) if where == "in each layer" else 1)
    return [f"amount {amount} counts {unit} {where}: {times:,} of {total:,} ({times / total:.1%})"]
