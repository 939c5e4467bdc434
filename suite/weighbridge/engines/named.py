"""What sessions share that know their inputs by name: whether a batch fits, and how it is cut where the file fixes the batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from weighbridge.contracts import Array, Inputs
from weighbridge.core.batches import Axes, axes_of, axis_of, cast, count, describe, is_one_sample, take
from weighbridge.core.errors import StageError, did_you_mean
from weighbridge.core.flow import flow
from weighbridge.core.layout import turned_round

TAKEN_FOR_BATCHES = (
    "; where these are samples without the batch's axis: a list whose inputs and targets have one first length, as two "
    "pictures have their channels, is read as batches, and a map-style dataset as samples"
)


def last_are_targets(names: Sequence[str]) -> str:
    """What to do where the data is an input short of `names`, which are given in their order."""
    return f"; the last of a tuple are its targets: give `(({', '.join(names)}{',' if len(names) == 1 else ''}), targets)`"


@dataclass(frozen=True)
class Declared:
    """An input as the file declares it; an open axis is None or its name."""

    shape: Sequence[int | str | None]
    dtype: str
    """As numpy calls it; empty where numpy by itself has no such type."""
    type: str
    """As the engine calls it."""


def numpys(name: str) -> str:
    """The name of a type that numpy has by itself, else nothing: ml_dtypes, once imported, registers bfloat16 and others, which
    numpy's numbers cannot be cast to.
    """
    import numpy as np

    return name if name in np.sctypeDict and np.dtype(name).isbuiltin == 1 else ""


class NamedSession(ABC):
    """An ONNX model opened by an engine. `engine` is what a sentence calls that."""

    engine: str
    inputs: Mapping[str, Declared]
    outputs: Sequence[str]

    @abstractmethod
    def infer(self, feed: Mapping[str, Array]) -> Sequence[Array]:
        """One run, with whatever the engine raises."""

    @abstractmethod
    def reason(self, error: Exception) -> str:
        """What of an exception of the engine tells what is wrong, on one line; the engine's own source is no part of it."""

    def called(self, names: Mapping[str, Sequence[str]]) -> Self:
        """Take inputs and give outputs in the order of these names, where `inputs` or `outputs` are told."""
        self.inputs = {name: self.inputs[name] for name in names.get("inputs", self.inputs)}
        self.outputs = list(names.get("outputs", self.outputs))
        return self

    def fixed_batch(self, axes: Axes) -> int | None:
        """The batch that the model was exported with, where it is fixed. `axes` are the data's batch axes."""
        sizes = set()
        for name, value in self.inputs.items():
            axis = axes.get(name, 0)
            if axis is not None:
                size = value.shape[axis] if axis < len(value.shape) else None
                sizes.add(size if isinstance(size, int) else None)
        return sizes.pop() if len(sizes) == 1 else None

    def run(self, inputs: Inputs) -> tuple[Array, ...]:
        import numpy as np

        axes, n = axes_of(inputs), count(inputs)
        parts, size = [self.call(feed) for feed in self.feeds(inputs)], self.fixed_batch(axes)
        if size in (None, n):
            alone = is_one_sample(inputs)
            return tuple(
                array[None] if alone and axes.get(name, 0) is None else array
                for name, array in zip(self.outputs, parts[0], strict=True)
            )
        outputs = []
        for name, pieces in zip(self.outputs, zip(*parts, strict=True), strict=True):
            axis = axes.get(name, 0)
            if axis is None:
                outputs.append(pieces[0])
                continue
            if pieces[0].shape[axis : axis + 1] != (size,):
                raise StageError(
                    "run",
                    f"the model takes batches of {size}, and its output '{name}' of shape {pieces[0].shape} has no "
                    f"such axis {axis}, so the outputs of {n} samples cannot be put together; "
                    + self._batched(name, pieces[0], size),
                )
            outputs.append(np.concatenate(pieces, axis)[(slice(None),) * axis + (slice(n),)])
        return tuple(outputs)

    def _batched(self, name: str, output: Array, size: int | None) -> str:
        """What to write into the case for an output without the batch where it is looked for."""
        if size in output.shape:
            axis = output.shape.index(size)
            return (
                f"name the axis in the case: `batch: {flow({name: axis})}`, or null for an output without one"
            )
        alone = dict.fromkeys([*self.inputs, *self.outputs])
        return (
            f"say that none has a batch, `batch: {flow(alone)}`, and give samples by name with all axes of the input: the model "
            "is then called once for each, as of a detector that keeps as many boxes as it is sure of"
        )

    def bind(self, inputs: Inputs) -> Callable[[], object]:
        feeds, run = self.feeds(inputs), self.infer
        if len(feeds) == 1:
            only = feeds[0]
            return lambda: run(only)
        return lambda: [run(feed) for feed in feeds]

    def filled(self, inputs: Inputs) -> int:
        return -count(inputs) % (self.fixed_batch(axes_of(inputs)) or 1)

    def feeds(self, inputs: Inputs) -> list[dict[str, Array]]:
        """The named arrays of each call for this batch: one, or a slice a call where the model's batch is fixed.

        The last slice is filled up by repetition. Raises `StageError` as `feed` does.
        """
        import numpy as np

        n, size = count(inputs), self.fixed_batch(axes_of(inputs))
        if size is None or size == n:
            return [self.feed(inputs)]
        rows = [np.arange(start, start + size) % n for start in range(0, n, size)]
        return [self.feed(take(inputs, some)) for some in rows]

    def feed(self, inputs: Inputs) -> dict[str, Array]:
        """The batch by input name, in the types that the model declares; raises `StageError` on a wrong name or shape."""
        import numpy as np

        if not isinstance(inputs, dict) and len(inputs) != len(self.inputs):
            raise StageError(
                "data",
                f"the model takes {len(self.inputs)} inputs ({', '.join(self.inputs)}), the data gives {len(inputs)}: "
                f"{describe(inputs)}"
                + (last_are_targets(tuple(self.inputs)) if len(self.inputs) == len(inputs) + 1 else ""),
            )
        named = inputs if isinstance(inputs, dict) else dict(zip(self.inputs, inputs, strict=True))
        missing = [name for name in self.inputs if name not in named]
        for name in named:
            if name not in self.inputs:
                raise StageError(
                    "data",
                    f"the model has no input '{name}'{did_you_mean(name, self.inputs)}"
                    + turned_round(named)
                    + (
                        ""
                        if missing
                        else f"; if these are the targets, say `targets: {name}`, or call them y"
                    ),
                )
        if missing:
            state = f"; if {missing[0]} is state that the model gives back for its next call, say `sequence: true`"
            raise StageError(
                "data",
                f"the model's input {self._declared(missing[0])} is missing; the data gives {describe(inputs)}"
                + (state if len(self.outputs) > len(missing) else ""),
            )
        named = {name: self._as_column(name, array) for name, array in named.items()}
        for name, array in named.items():
            self._check_shape(name, array, axis_of(inputs, name))
        return {
            name: np.asarray(cast(array, self.inputs[name].dtype or str(array.dtype), name), order="C")
            for name, array in named.items()
        }

    def _as_column(self, name: str, array: Array) -> Array:
        """One number or word a sample as [N, 1] where the model reads that, as scikit-learn's exports do each column."""
        shape = self.inputs[name].shape
        return array[:, None] if array.ndim == 1 and len(shape) == 2 and shape[1] == 1 else array

    def _check_shape(self, name: str, array: Array, axis: int | None) -> None:
        shape = self.inputs[name].shape
        if not shape:
            return  # a scalar, or a shape that the file does not tell
        unlike = len(shape) != array.ndim or any(
            isinstance(want, int) and want > 0 and want != have and index != axis
            for index, (want, have) in enumerate(zip(shape, array.shape, strict=False))
        )
        if unlike:
            raise StageError(
                "data",
                f"the model's input {self._declared(name)} does not take the data's {array.dtype} {list(array.shape)}"
                + (TAKEN_FOR_BATCHES if len(shape) == array.ndim + 1 else ""),
            )

    def _declared(self, name: str) -> str:
        """`'ids' int64 [batch, 24]`, as the file declares it."""
        value = self.inputs[name]
        shape = ", ".join("?" if size is None else str(size) for size in value.shape)
        return f"'{name}' {value.dtype or value.type} [{shape}]"

    def dtype(self, name: str) -> str:
        """The type of one input, as numpy calls it."""
        return self.inputs[name].dtype or "float32"

    def call(self, feed: dict[str, Array]) -> tuple[Array, ...]:
        """One run; raises `StageError` that names what was fed."""
        try:
            outputs = tuple(self.infer(feed))
        except Exception as error:  # engines' own exceptions share no base
            raise StageError(
                "run",
                f"the model does not run on {describe(feed)}; {self.engine} says: {self.reason(error)}",
            ) from error
        for name, output in zip(self.outputs, outputs, strict=False):
            if not hasattr(output, "shape"):
                raise StageError(
                    "run",
                    f"the model's output '{name}' is a {type(output).__name__}, not a tensor: nothing can be measured on it; "
                    "skl2onnx gives tensors with `options={'zipmap': False}`, other exporters where a ZipMap or a "
                    "sequence is left out at the end",
                )
        return outputs
