"""The data of a case: splits of samples, handed out as numpy batches whatever the user gave.

A user's callable returns a mapping from split name to one of: a pair `(inputs, targets)` of arrays or tensors
whose first axis is the sample (inputs may be one array, a tuple, or a mapping by input name); a callable giving
that, so that a split is only built when it is used; a torch `Dataset` of `(input, target)`; an iterable of
batches such as a `DataLoader`.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.core.arrays import Array, Inputs
from weighbridge.core.errors import StageError, did_you_mean
from weighbridge.core.references import call


@dataclass(frozen=True)
class Split:
    """The samples of one split. `length` is None where only iterating tells it."""

    name: str
    source: Any
    length: int | None

    def batches(self, size: int = 64) -> Iterator[tuple[Inputs, Array | None]]:
        """`(inputs, targets)` in order; a user's own batches keep their own size."""
        if isinstance(self.source, tuple):
            inputs, targets = self.source
            for start in range(0, self.length or 0, size):
                yield (
                    _slice(inputs, start, start + size),
                    None if targets is None else targets[start : start + size],
                )
        elif hasattr(self.source, "__getitem__") and self.length is not None:
            for start in range(0, self.length, size):
                yield _collate([self.source[i] for i in range(start, min(start + size, self.length))])
        else:
            for batch in self.source:
                yield _pair(batch)

    def arrays(self, limit: int | None = None) -> tuple[Inputs, Array | None]:
        """The first `limit` samples (all, without one) as one batch."""
        seen, parts = 0, []
        for inputs, targets in self.batches():
            parts.append((inputs, targets))
            seen += count(inputs)
            if limit is not None and seen >= limit:
                break
        if not parts:
            raise StageError("data", f"split '{self.name}' is empty")
        inputs, targets = _concatenate(parts)
        return (
            (_slice(inputs, 0, limit), None if targets is None else targets[:limit])
            if limit
            else (inputs, targets)
        )


@dataclass(frozen=True)
class Data:
    """All splits of a case, or seeded normal samples of given shapes where the case has no data."""

    splits: Mapping[str, Any] = field(default_factory=dict)
    shapes: tuple[tuple[int, ...], ...] | Mapping[str, tuple[int, ...]] | None = None
    dtypes: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    @property
    def labelled(self) -> bool:
        return bool(self.splits)

    def split(self, name: str) -> Split:
        """The split called `name`; `calibration` falls back on `train`, never on `test`. Raises `StageError`."""
        if not self.splits and self.shapes is not None:
            return Split(name, (self._draw(64, name), None), 64)
        known = dict(self.splits)
        found = name if name in known else "train" if name == "calibration" and "train" in known else None
        if found is None:
            raise StageError("data", f"the data has no split '{name}'{did_you_mean(name, known)}")
        return _split(found, known[found])

    def sample(self, n: int) -> Inputs:
        """`n` input samples, of the test split where there is data; repeated where there are fewer."""
        if not self.splits and self.shapes is not None:
            return self._draw(n, "test")
        if not self.splits:
            raise StageError(
                "data", "the case has neither `data` nor `inputs`, so there is nothing to run the model on"
            )
        inputs, _ = self.split("test" if "test" in self.splits else next(iter(self.splits))).arrays(n)
        have = count(inputs)
        return inputs if have >= n else apply(inputs, lambda array: np.resize(array, (n, *array.shape[1:])))

    def digest(self, splits: tuple[str, ...]) -> str:
        return ",".join(digest(self.split(name).arrays()[0]) for name in splits)

    def restricted(self, splits: tuple[str, ...]) -> Data:
        return self

    def _draw(self, n: int, purpose: str) -> Inputs:
        """Standard normal samples; another seed for each split, so that calibration never sees the test's."""
        random = np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])

        def draw(name: str, shape: Sequence[int]) -> Array:
            dtype = np.dtype(self.dtypes.get(name, "float32"))
            if dtype.kind in "iub":
                return random.integers(0, 2, (n, *shape)).astype(dtype)
            return random.standard_normal((n, *shape)).astype(dtype)

        if isinstance(self.shapes, Mapping):
            return {name: draw(name, shape) for name, shape in self.shapes.items()}
        return tuple(draw(str(index), shape) for index, shape in enumerate(self.shapes or ()))


def load_data(reference: str, folder: Path, seed: int = 0) -> Data:
    """Call the user's data callable; raises `StageError` when it gives something else than splits."""
    splits = call(reference, folder, stage="data")
    if not isinstance(splits, Mapping) or not splits:
        raise StageError(
            "data",
            f"{reference}() gave {type(splits).__name__}; it must give a mapping of split name "
            "('test', 'calibration', 'train') to (inputs, targets)",
        )
    return Data(splits=splits, seed=seed)


def count(inputs: Inputs) -> int:
    """The number of samples in a batch."""
    return len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs[0])


def apply(inputs: Inputs, function: Callable[[Array], Array]) -> Inputs:
    """`function` on each array of a batch."""
    if isinstance(inputs, dict):
        return {name: function(array) for name, array in inputs.items()}
    return tuple(function(array) for array in inputs)


def digest(inputs: Inputs) -> str:
    """A short hash of a batch, so that a report can tell which samples it speaks of."""
    sha = hashlib.sha256()
    for array in inputs.values() if isinstance(inputs, dict) else inputs:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()[:16]


def _split(name: str, source: Any) -> Split:
    if callable(source) and not hasattr(source, "__getitem__") and not hasattr(source, "__iter__"):
        try:
            source = source()
        except Exception as error:
            raise StageError(
                "data", f"building split '{name}' raised {type(error).__name__}: {error}"
            ) from error
    if isinstance(source, tuple | list) and len(source) == 2 and _is_samples(source[0]):
        inputs, targets = _pair(tuple(source))
        lengths = {len(array) for array in (inputs.values() if isinstance(inputs, dict) else inputs)}
        lengths |= {len(targets)} if targets is not None else set()
        if len(lengths) != 1:
            raise StageError(
                "data", f"split '{name}': inputs and targets differ in length: {sorted(lengths)}"
            )
        if 0 in lengths:
            raise StageError("data", f"split '{name}' is empty")
        return Split(name, (inputs, targets), lengths.pop())
    if (
        hasattr(source, "__getitem__")
        and hasattr(source, "__len__")
        and type(source).__name__ != "DataLoader"
    ):
        return Split(name, source, len(source))
    if hasattr(source, "__iter__"):
        return Split(name, source, None)
    raise StageError(
        "data",
        f"split '{name}' is a {type(source).__name__}; expected (inputs, targets), a Dataset or batches",
    )


def _is_samples(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_samples(item) for item in value.values())
    if isinstance(value, tuple | list):
        return bool(value) and all(hasattr(item, "shape") for item in value)
    return hasattr(value, "shape")


def _pair(batch: Any) -> tuple[Inputs, Array | None]:
    inputs, targets = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
    normal: Inputs
    if isinstance(inputs, Mapping):
        normal = {str(name): _numpy(array) for name, array in inputs.items()}
    elif isinstance(inputs, tuple | list):
        normal = tuple(_numpy(array) for array in inputs)
    else:
        normal = (_numpy(inputs),)
    return normal, None if targets is None else _numpy(targets)


def _collate(samples: list[Any]) -> tuple[Inputs, Array | None]:
    """A batch from samples `(input, target)`, each input one array, a tuple or a mapping."""
    return _concatenate([_pair((_lift(x), np.asarray(_numpy(y))[None])) for x, y in samples])


def _lift(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _numpy(item)[None] for name, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_numpy(item)[None] for item in value)
    return _numpy(value)[None]


def _numpy(value: Any) -> Array:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def _slice(inputs: Inputs, start: int, stop: int | None) -> Inputs:
    return apply(inputs, lambda array: array[start:stop])


def _concatenate(parts: Sequence[tuple[Inputs, Array | None]]) -> tuple[Inputs, Array | None]:
    first, first_targets = parts[0]
    inputs: Inputs
    if isinstance(first, dict):
        inputs = {name: np.concatenate([part[0][name] for part in parts]) for name in first}  # type: ignore[call-overload]
    else:
        inputs = tuple(np.concatenate([part[0][i] for part in parts]) for i in range(len(first)))  # type: ignore[index]
    targets = (
        None if first_targets is None else np.concatenate([part[1] for part in parts if part[1] is not None])
    )
    return inputs, targets
