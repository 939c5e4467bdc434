"""A classifier that names one class for all samples: on a split of mostly that class, a limit on a mean lets it pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from weighbridge.contracts import Limit
from weighbridge.core.errors import StageError
from weighbridge.measure.evaluation import Evaluation

MISSED = 3
"""So many samples of other classes, all of them missed: of a model that misses one in ten, that happens once in a thousand."""


def one_class(before: Evaluation | None, after: Evaluation) -> dict[str, Any]:
    """The detail `one_class` where the candidate names one class for all samples: which, and how many samples the original,
    or without one the targets, count to another.
    """
    named, known = after.answers, after.labels if before is None else before.answers
    if named is None or known is None or not named.size or (named != named[0]).any():
        return {}
    others = int(np.count_nonzero(known != named[0]))
    return (
        {"one_class": {"class": int(named[0]), "others": others, "original": before is not None}}
        if others
        else {}
    )


def check_classes(details: Mapping[str, Any], value: float, limit: Limit) -> None:
    """A `StageError` where a limit is kept by naming one class for all samples; one that is missed says enough itself."""
    found = details.get("one_class")
    missed = (limit.max is not None and value > limit.max) or (limit.min is not None and value < limit.min)
    if found is None or missed or found["others"] < MISSED:
        return
    raise StageError(
        "measure",
        f"{_told(details)}; it is right as often as that class comes, and nothing tells that it looks at its inputs; "
        "`allow_chance: true` judges it all the same",
    )


def tell_one_class(details: Mapping[str, Any]) -> Iterator[str]:
    """The same as a sentence, where too few samples are of another class to call it a fault."""
    if "one_class" in details:
        yield _told(details)


def _told(details: Mapping[str, Any]) -> str:
    found = details["one_class"]
    others = f"where the original names another for {found['others']}"
    if not found["original"]:
        others = f"of which {found['others']} are of another"
    return f"{details['metric']}: class {found['class']} is named for all {details['n']} samples, {others}"
