"""A batch of samples: its axes, its rows, its types, its fingerprint."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import TypeAlias

import numpy as np

from weighbridge.core.arrays import Array, Inputs
from weighbridge.core.errors import StageError

Axes: TypeAlias = Mapping[str, int | None]
"""The batch axis by input name; None for an input that has none. An input that is not named has axis 0."""


class NamedInputs(dict[str, Array]):
    """Inputs by name of which some do not have the batch on axis 0: recurrent state, scalars."""

    def __init__(self, arrays: Mapping[str, Array], axes: Axes) -> None:
        super().__init__(arrays)
        self.axes = axes


def axes_of(inputs: Inputs) -> Axes:
    """What the case says of batch axes, of inputs and of outputs by their names."""
    return inputs.axes if isinstance(inputs, NamedInputs) else {}


def axis_of(inputs: Inputs, name: str) -> int | None:
    """The batch axis of one input."""
    return axes_of(inputs).get(name, 0)


def items(inputs: Inputs) -> Iterator[tuple[str, Array, int | None]]:
    """Name (or position, as text), array and batch axis of each input."""
    if isinstance(inputs, dict):
        for name, array in inputs.items():
            yield name, array, axis_of(inputs, name)
    else:
        for index, array in enumerate(inputs):
            yield str(index), array, 0


def rebuilt(inputs: Inputs, function: Callable[[str, Array, int | None], Array]) -> Inputs:
    """`function(name, array, axis)` on each array of a batch."""
    arrays = {name: function(name, array, axis) for name, array, axis in items(inputs)}
    if isinstance(inputs, NamedInputs):
        return NamedInputs(arrays, inputs.axes)
    return arrays if isinstance(inputs, dict) else tuple(arrays.values())


def count(inputs: Inputs) -> int:
    """The number of samples in a batch."""
    return next((array.shape[axis] for _, array, axis in items(inputs) if axis is not None), 1)


def is_one_sample(inputs: Inputs) -> bool:
    """Whether no input has an axis of the batch, so that a call is of one sample."""
    return all(axis is None for _, _, axis in items(inputs))


def answers(outputs: Sequence[Array], n: int) -> tuple[Array, ...]:
    """The outputs that answer `n` samples, by axis 0; another, such as the state of a recurrent model, is no answer. A number
    is one where it is of one sample: a last layer that squeezes takes the batch's axis too.
    """
    whole = (each.reshape(1) if n == 1 and not each.ndim else each for each in outputs)
    return tuple(each for each in whole if each.shape[:1] == (n,))


def samples_first(outputs: Sequence[Array], names: Sequence[str], inputs: Inputs) -> tuple[Array, ...]:
    """Outputs with the batch on axis 0, where the case says of one by its name that it is on another, as a text of [T, N, C].

    `names` are those of the outputs, none of a session that knows none.
    """
    axes = axes_of(inputs)
    moved = {place: axis for place, name in enumerate(names) if (axis := axes.get(name))}
    return tuple(
        np.moveaxis(each, moved[place], 0) if place in moved and each.ndim > moved[place] else each
        for place, each in enumerate(outputs)
    )


def take(inputs: Inputs, rows: slice | Array) -> Inputs:
    """Some of the samples of a batch, each array along its own batch axis."""

    def rows_of(_: str, array: Array, axis: int | None) -> Array:
        return array if axis is None else array[(slice(None),) * axis + (rows,)]

    return rebuilt(inputs, rows_of)


def shapes(inputs: Inputs) -> tuple[tuple[int, ...], ...]:
    """The shape of one sample, input by input: what samples must share to stand in one batch."""
    return tuple(
        array.shape if axis is None else (*array.shape[:axis], *array.shape[axis + 1 :])
        for _, array, axis in items(inputs)
    )


def join(batches: Sequence[Inputs]) -> Inputs:
    """One batch of several. They agree in the shape of a sample; an input without batch axis is the first one's."""
    if len(batches) == 1:
        return batches[0]
    columns = [[array for _, array, _ in items(batch)] for batch in batches]
    names = [name for name, _, _ in items(batches[0])]

    def joined(name: str, array: Array, axis: int | None) -> Array:
        at = names.index(name)
        return array if axis is None else np.concatenate([column[at] for column in columns], axis)

    return rebuilt(batches[0], joined)


def nbytes(inputs: Inputs, targets: Array | None) -> int:
    return sum(array.nbytes for _, array, _ in items(inputs)) + (0 if targets is None else targets.nbytes)


def describe(inputs: Inputs) -> str:
    """`ids int64 [64, 24] from 0 to 1999, mask float32 [64, 24] from 0 to 1`: what the data gives, for a sentence."""
    return ", ".join(_described(name, array) for name, array, _ in items(inputs))


def _described(name: str, array: Array) -> str:
    text = f"{f'input {name}' if name.isdigit() else name} {array.dtype} {list(array.shape)}"
    if not array.size or array.dtype.kind not in "biuf":
        return text
    low, high = array.min(), array.max()
    return f"{text} with NaN" if low != low else f"{text} from {low:.6g} to {high:.6g}"


def not_finite(inputs: Inputs) -> Array:
    """Which samples hold NaN or infinity, shape [N], bool."""
    found = np.zeros(count(inputs), dtype=bool)
    for _, array, axis in items(inputs):
        if array.dtype.kind == "f" and axis is not None:
            rows = np.moveaxis(array, axis, 0).reshape(len(found), -1)
            found |= ~np.isfinite(rows).all(1)
    return found


def cast(array: Array, dtype: str, name: str) -> Array:
    """`array` as the type that an input wants, where every value survives; raises `StageError` where one would not.

    A rounded float survives, a whole number as float too; a fraction, a number out of range or text does not.
    """
    wanted = np.dtype(dtype)
    if array.dtype == wanted:
        return array
    if array.dtype.kind not in "biuf" or wanted.kind not in "biuf":
        return _refuse(array, wanted, name, f"{array.dtype} is no number")
    with np.errstate(all="ignore"):
        converted = array.astype(wanted)
        if wanted.kind == "f" and array.dtype.kind == "f":
            lost = np.isfinite(array) & ~np.isfinite(converted)
        else:
            lost = converted.astype(array.dtype) != array
            if wanted.kind in "iu" and array.dtype.kind in "iu":
                lost |= (array < 0) != (converted < 0)
    if lost.any():
        return _refuse(array, wanted, name, f"{array[lost].flat[0]:.6g} does not survive that")
    return converted


def _refuse(array: Array, wanted: np.dtype[np.generic], name: str, why: str) -> Array:
    what = f"input {name}" if name.isdigit() else f"input '{name}'"
    raise StageError("data", f"{what} is {wanted} in the model and {array.dtype} in the data, and {why}")


class Fingerprint:
    """A hash over samples in their order, one of each sample's inputs, and how many hold NaN, taken in one pass."""

    def __init__(self) -> None:
        self.not_finite = 0
        self.groups: set[str | float] = set()
        """The groups that the samples belong to, where the data names them."""
        self._sha = hashlib.sha256()
        self._rows: list[bytes] = []
        self._energy: dict[str, tuple[float, int]] = {}
        self._shapes: dict[str, set[tuple[int, ...]]] = {}
        """Of each input, with 0 for its batch axis."""

    def add(self, inputs: Inputs, targets: Array | None, groups: Array | None = None) -> None:
        self.not_finite += int(not_finite(inputs).sum())
        for name, array, axis in items(inputs):
            self._sha.update(f"{name} {array.dtype} {array.shape} {axis};".encode())
            shape = [0 if at == axis else size for at, size in enumerate(array.shape)]
            self._shapes.setdefault(name, set()).add(tuple(shape))
            if axis is None:
                self._sha.update(_bytes(array))
            if array.dtype.kind in "fiu":
                flat = array.astype(np.float32).ravel()
                energy, size = self._energy.get(name, (0.0, 0))
                self._energy[name] = energy + float(np.dot(flat, flat)), size + flat.size
        columns = [np.moveaxis(array, axis, 0) for _, array, axis in items(inputs) if axis is not None]
        for row in range(count(inputs)):
            of_row = hashlib.sha256()
            for column in columns:
                of_row.update(_bytes(column[row]))
            self._rows.append(of_row.digest()[:8])
            self._sha.update(of_row.digest())
        if targets is not None:
            self._sha.update(f"targets {targets.dtype} {targets.shape};".encode())
            self._sha.update(_bytes(targets))
        if groups is not None:
            self.groups.update(groups.tolist())
            self._sha.update(f"groups {groups.dtype} {groups.shape};".encode())
            self._sha.update(_bytes(groups))

    def hexdigest(self) -> str:
        return self._sha.hexdigest()

    def sizes(self) -> dict[str, float]:
        """The root mean square of each numeric input; NaN or infinity where a number of it is."""
        return {name: math.sqrt(energy / size) for name, (energy, size) in self._energy.items() if size}

    def shapes(self) -> Mapping[str, Set[tuple[int, ...]]]:
        """The shapes that each input comes in, with 0 for its batch axis."""
        return self._shapes

    def rows(self) -> Array:
        """A hash of each sample's inputs, shape [N], uint64."""
        return np.frombuffer(b"".join(self._rows), dtype=np.uint64)


def _bytes(array: Array) -> bytes:
    return repr(array.tolist()).encode() if array.dtype.kind == "O" else array.tobytes()
