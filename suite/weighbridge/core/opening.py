"""From what a user gave for a split to a `Split`: which of the known forms it is."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.core.arrays import Array
from weighbridge.core.errors import StageError, did_you_mean, first_line
from weighbridge.core.layout import LABELS, Layout, is_numbers
from weighbridge.core.listed_targets import are_listed
from weighbridge.core.splits import KEEP, Arrays, Kept, Split, Stream

SPLITS = ("test", "calibration", "train", "validation")
_SPLIT_OF = {"val": "validation"}
"""What else a split is called in the keys of an `.npz`."""
_SPLIT = rf"(?P<split>{'|'.join((*SPLITS, *_SPLIT_OF))})"
_BEGINS, _ENDS = re.compile(rf"{_SPLIT}_(?P<name>.+)"), re.compile(rf"(?P<name>.+)_{_SPLIT}")


def open_split(name: str, value: Any, layout: Layout, folder: Path, redrawn: bool) -> Split:
    """The split in `value`; raises `StageError` for what is none. A function is called, at each reading anew."""
    if isinstance(value, Arrays):
        return Split(name, value, redrawn)
    if isinstance(value, str | Path) and str(value).endswith(".npz"):
        return Split(name, _arrays(name, read_npz(folder / value), layout))
    if is_function(value):
        built = _built(name, value)
        if not _is_iterator(built):
            return open_split(name, built, layout, folder, redrawn)
        # A function that gives a generator can be called again.
        return Split(name, Stream(_again(name, value, built), layout, name), redrawn)
    source = _source(name, value, layout)
    if isinstance(source, Arrays) and source.length == 0:
        raise StageError("data", f"split '{name}' is empty")
    if _is_iterator(value) and isinstance(source, Stream):
        return Split(name, _once(name, source), redrawn)
    return Split(name, source, redrawn)


def is_function(value: Any) -> bool:
    """Whether a split is what calling `value` gives: a dataset or a loader that can be called too is the split itself."""
    return callable(value) and not hasattr(value, "__getitem__") and not hasattr(value, "__iter__")


def _source(name: str, value: Any, layout: Layout) -> Arrays | Stream:
    if _is_table(value):
        value = {str(column): _of_column(value[column]) for column in value.columns}
    if _is_columns_beside_lists(value, layout, name):
        return Stream(lambda: iter((value,)), layout, name, single=False)
    if isinstance(value, Mapping) or _is_array(value) or _is_columns(value):
        return _arrays(name, value, layout)
    if _is_samples(value):
        return Stream(
            lambda: (value[index] for index in range(len(value))), layout, name, single=True, dataset=value
        )
    if hasattr(value, "on_epoch_end") and hasattr(
        value, "__len__"
    ):  # Keras's sequences give batches by number
        return Stream(lambda: (value[index] for index in range(len(value))), layout, name, single=False)
    if hasattr(value, "__iter__") and not isinstance(value, str | bytes):
        loader = type(value).__name__ == "DataLoader" and getattr(value, "batch_size", None) is not None
        return Stream(lambda: iter(value), layout, name, single=False if loader else None)
    raise StageError(
        "data",
        f"split '{name}' is a {type(value).__name__}; expected (inputs, targets), a mapping of arrays, a Dataset, a "
        "DataLoader, an iterable of batches, or an .npz",
    )


def _arrays(name: str, value: Any, layout: Layout) -> Arrays:
    return Arrays(*layout.batch(value, name))


def _is_table(value: Any) -> bool:
    """A data frame, of pandas or polars."""
    return hasattr(value, "columns") and hasattr(value, "to_numpy")


def _of_column(column: Any) -> Any:
    """A column's numbers; where each is a list, as parquet keeps them, its rows."""
    array = column.to_numpy()
    return array if array.dtype.kind != "O" else list(array)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_columns(value: Any) -> bool:
    """Whether a tuple or list holds a whole split, `(inputs, ..., targets)`, and not batches or samples one by one.

    A part of a whole split is an array, a column of a table, or nothing; batches and samples with targets are tuples or
    mappings, one like the other. Inputs by name beside targets by name have other keys.
    """
    if not isinstance(value, tuple | list):
        return False
    if any(part is None or _is_array(part) or _is_column(part) for part in value):
        return True
    return isinstance(value, tuple) and (any(map(is_numbers, value)) or _are_unlike(value))


def _is_column(part: Any) -> bool:
    """A column that is read when it is asked for, as Hugging Face's datasets give one: `dataset["label"]`."""
    return isinstance(part, Sequence) and not isinstance(part, tuple | list | str | bytes)


def _is_columns_beside_lists(value: Any, layout: Layout, name: str) -> bool:
    """Whether it holds a whole split whose targets are a list of mappings: it is read as one batch of a loader would be."""
    whole = isinstance(value, Mapping) or (isinstance(value, tuple) and any(map(are_listed, value)))
    return whole and layout.are_listed(value, name)


def _are_unlike(parts: tuple[Any, ...]) -> bool:
    """Whether there are mappings among `parts`, and others than they: other keys, or no mappings."""
    keys = {frozenset(part) if isinstance(part, Mapping) else None for part in parts}
    return len(keys) > 1


def _is_samples(value: Any) -> bool:
    """A map-style Dataset. Of a list, the first element tells; an iterable dataset inherits a `__getitem__` that raises."""
    return (
        hasattr(value, "__getitem__")
        and hasattr(value, "__len__")
        and not isinstance(value, tuple | list | str | bytes)
        and type(value).__name__ != "DataLoader"
        and not hasattr(value, "on_epoch_end")
        and not any(kind.__name__ == "IterableDataset" for kind in type(value).__mro__)
    )


def _is_iterator(value: Any) -> bool:
    return hasattr(value, "__next__") and hasattr(value, "__iter__")


def _built(name: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise StageError("data", f"building split '{name}' raised {type(error).__name__}: {error}") from error


def _again(name: str, function: Callable[[], Any], first: Iterator[Any]) -> Callable[[], Iterator[Any]]:
    waiting = [first]
    return lambda: waiting.pop() if waiting else iter(_built(name, function))


def _once(name: str, source: Stream) -> Kept:
    """A generator, read now and kept: it could not be read a second time."""
    kept = Kept(source)
    for _ in kept.batches(64):
        if kept.full:
            raise StageError(
                "data",
                f"split '{name}' is a generator of more than {KEEP >> 20} MB, which can be read once only; give "
                "something that can be read again: a Dataset, a DataLoader, or the function that makes the generator",
            )
    return kept


def npz_splits(path: Path, layout: Layout) -> Mapping[str, Any]:
    """The splits of an `.npz`: keys such as `test_x` and `test_y`; `x_test` and `y_test`, as Keras writes them, where every key
    is one of these; or without a split's name, for the split test.
    """
    arrays = read_npz(path)
    behind = all(_ENDS.fullmatch(key) and not _BEGINS.fullmatch(key) for key in arrays)
    splits: dict[str, dict[str, Array]] = {}
    for key, array in arrays.items():
        named = (_ENDS if behind else _BEGINS).fullmatch(key)
        split = _SPLIT_OF.get(named["split"], named["split"]) if named else "test"
        splits.setdefault(split, {})[named["name"] if named else key] = array
    return {name: _by_position(name, columns, layout) or columns for name, columns in splits.items()}


def _by_position(split: str, columns: dict[str, Array], layout: Layout) -> Arrays | None:
    """Inputs of the keys `x`, or `x0`, `x1`, ...: these are positions, where every other key is an input's name."""
    groups = columns.get(str(layout.groups)) if layout.groups is not None else None
    columns = {key: column for key, column in columns.items() if key != layout.groups}
    several = layout.targets if isinstance(layout.targets, tuple) else ()
    labels = [
        key
        for key in columns
        if key in (*several, layout.targets) or (layout.targets is None and key in LABELS)
    ]
    inputs = sorted((key for key in columns if re.fullmatch(r"x\d*", key)), key=lambda key: int(key[1:] or 0))
    if not inputs or len(inputs) + len(labels) != len(columns) or layout.axes:
        return None
    if len(labels) != len(several) if several else len(labels) > 1:
        return None
    targets: Any = columns[labels[0]] if labels else None
    if several:
        targets = {name: columns[name] for name in several}
    positions = (tuple(columns[key] for key in inputs), targets)
    if groups is None:
        return Arrays(*Layout().batch(positions, split))
    return Arrays(*Layout(groups=2).batch((*positions, groups), split))


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of an `.npz`, pickles refused; raises `StageError`."""
    if not path.is_file():
        siblings = [file.name for file in path.parent.glob("*.npz")] if path.parent.is_dir() else []
        raise StageError("data", f"no file {path}{did_you_mean(path.name, siblings)}")
    if not zipfile.is_zipfile(path):
        raise StageError("data", f"{path.name} is no .npz, or a damaged one; numpy.savez writes them")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:
        raise StageError("data", f"{path.name} cannot be read as .npz: {first_line(error)}") from error
