"""Samples of several shapes side by side, for what looks at all samples at once: a detector finds another number of boxes in
each picture, and its mean average precision is of all pictures.

Such a column is an array [N] of objects, a sample's own array each. A user's code is given lists instead: numpy would
calculate with the objects one by one, and stretch what happens to fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from weighbridge.core.arrays import Array
from weighbridge.core.errors import StageError
from weighbridge.core.named_targets import shapes_of

_SHAPE, _ROWS = ".shape", ".rows"


def join_outputs(batches: Sequence[tuple[tuple[Array, ...], Array]]) -> tuple[tuple[Array, ...], Array]:
    """Outputs and targets of several batches; raises `StageError` where one batch has other outputs than another."""
    numbers = sorted({len(outputs) for outputs, _ in batches})
    if len(numbers) > 1:
        raise StageError(
            "measure",
            f"{numbers[0]} of the outputs answer each sample in one batch and {numbers[-1]} in another, as where an output "
            "that is no answer happens to be as long as the batch; let the metric give a score a sample",
        )
    columns = zip(*(outputs for outputs, _ in batches), strict=True)
    return tuple(map(side_by_side, columns)), side_by_side([targets for _, targets in batches])


def side_by_side(parts: Sequence[Array]) -> Array:
    """Batches [n, ...] as one array [N, ...], or [N] of objects where their samples differ in shape."""
    if len({shapes_of(part) for part in parts}) == 1:
        return np.concatenate(parts)
    return _of_objects([row for part in parts for row in part])


def is_ragged(column: Array) -> bool:
    """Whether samples of several shapes stand in it; text is an array of objects too."""
    return column.dtype.kind == "O" and bool(column.size) and isinstance(column.flat[0], np.ndarray | np.void)


def as_lists(columns: Sequence[Array]) -> tuple[Any, ...]:
    """The columns as a user's code is given them, which may write into a sample."""
    return tuple([sample.copy() for sample in column] if is_ragged(column) else column for column in columns)


def alike(columns: Sequence[Array]) -> Iterator[tuple[Array, ...]]:
    """The samples of all columns in batches of one shape each."""
    uneven = [column for column in columns if is_ragged(column)]
    if not uneven:
        yield tuple(columns)
        return
    rows: dict[Any, list[int]] = {}
    for at in range(len(columns[0])):
        rows.setdefault(tuple(_form(column[at]) for column in uneven), []).append(at)
    for chosen in rows.values():
        yield tuple(_stacked(column[chosen]) if is_ragged(column) else column[chosen] for column in columns)


def to_plain(name: str, column: Array) -> dict[str, Array]:
    """`column` as arrays that a file can hold without pickles, by names that begin with `name`."""
    if not is_ragged(column):
        return {name: column}
    found: dict[str, Array] = {}
    for index, (part, rows) in enumerate(alike((column, np.arange(len(column))))):
        found |= {f"{name}{_SHAPE}{index}": part, f"{name}{_ROWS}{index}": rows}
    return found


def from_plain(name: str, held: Mapping[str, Array]) -> Array:
    """What `to_plain` took apart."""
    if name in held:
        return held[name]
    parts = [held[key] for key in held if key.startswith(f"{name}{_SHAPE}")]
    rows = [held[key] for key in held if key.startswith(f"{name}{_ROWS}")]
    samples = [row for part in parts for row in part]
    return _of_objects(samples)[np.argsort(np.concatenate(rows))]


def _of_objects(samples: Sequence[Any]) -> Array:
    column = np.empty(len(samples), dtype=object)
    for at, sample in enumerate(samples):
        column[at] = sample
    return column


def _stacked(samples: Array) -> Array:
    return np.concatenate([np.asarray(sample)[None] for sample in samples])


def _form(sample: Any) -> Any:
    return shapes_of(np.asarray(sample)[None])
