"""Several targets a sample, by name, as a model of several tasks learns them: `{"kind": ..., "age": ...}`.

They are one array with a field a name, so that whatever slices and joins targets needs not know of them; a metric of the
user's own reads `targets["kind"]`, as it would of a mapping.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from weighbridge.core.arrays import Array
from weighbridge.core.errors import StageError


def of_batch(parts: Mapping[str, Array], split: str) -> Array:
    """`parts`, each [N, ...], as an array [N]; raises `StageError` where they are not as many."""
    lengths = {name: len(part) if part.ndim else None for name, part in parts.items()}
    if len(set(lengths.values())) != 1 or None in lengths.values():
        said = ", ".join(f"'{name}' {list(part.shape)}" for name, part in parts.items())
        raise StageError(
            "data", f"split '{split}': the targets by name differ in length, or have none: {said}"
        )
    fields = [(name, part.dtype, part.shape[1:]) for name, part in parts.items()]
    return _filled(parts, np.empty(next(iter(lengths.values())) or 0, fields))


def of_sample(parts: Mapping[str, Array]) -> Array:
    """`parts` of one sample, as an array without axes."""
    return _filled(parts, np.empty((), [(name, part.dtype, part.shape) for name, part in parts.items()]))


def _filled(parts: Mapping[str, Array], whole: Array) -> Array:
    for name, part in parts.items():
        whole[name] = part
    return whole


def shapes_of(targets: Array) -> tuple[object, ...]:
    """What the targets of samples must share to stand in one array: the shape of one, or of each by its name."""
    names = targets.dtype.names
    return targets.shape[1:] if names is None else tuple((name, targets.dtype[name].shape) for name in names)
