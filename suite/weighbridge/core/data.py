"""The data of a case: its splits by name, or invented samples of stated shapes where there is no data."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from weighbridge.core.arrays import Array, Inputs
from weighbridge.core.batches import NamedInputs, count, nbytes, take
from weighbridge.core.errors import StageError, did_you_mean
from weighbridge.core.layout import Layout, turned_round
from weighbridge.core.opening import npz_splits, open_split
from weighbridge.core.references import call
from weighbridge.core.splits import Split
from weighbridge.core.units import show

__all__ = ["Data", "Layout", "Split", "count", "load_data"]

TRAIN = "train"
FEW = 100
"""Fewer test samples are worth a note."""
UNLIKE = 4
"""Times that an input's root mean square is larger in one split than in another: no two samples of one source differ so."""
TURNS, TURNS_BYTES = 8, 256 << 20
"""Batches that a timed model gets in turn: an answer that is kept for the next call is of no use to it."""
MOST_BYTES = 4 << 30
"""Of one batch: what a slip of the pen asks for is refused before the machine runs out of memory."""


@dataclass(frozen=True)
class Data:
    """All splits of a case, or seeded normal samples of given shapes where the case has no data."""

    splits: Mapping[str, Any] = field(default_factory=dict)
    shapes: tuple[tuple[int, ...], ...] | Mapping[str, tuple[int, ...]] | None = None
    dtypes: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    layout: Layout = field(default_factory=Layout)
    folder: Path = Path()
    """What files among the splits are relative to."""
    declared: tuple[str, ...] | None = None
    """The splits that may be asked for; None means all."""
    judged: Split | None = None
    """What stands in the place of the test split."""
    _opened: dict[str, Split | StageError] = field(default_factory=dict, repr=False, compare=False)

    @property
    def invented(self) -> bool:
        """Whether samples are drawn because the case has no data."""
        return not self.splits and self.shapes is not None

    @property
    def kind(self) -> Literal["data", "random"]:
        """What a measurement on these samples was made on, as the report says it."""
        return "random" if self.invented else "data"

    def restricted(self, splits: tuple[str, ...]) -> Data:
        """The same data, in which only `splits` can be asked for; `sample` still works."""
        return replace(self, declared=splits)

    def judged_on(self, name: str, most: int | None) -> Data:
        """The same data, in which the test split is the split `name`, `most` samples of it where that is stated.

        Raises `StageError` where there is no such split.
        """
        split = self._split(name)
        return replace(self, judged=split if most is None else split.spread(most))

    def split(self, name: str) -> Split:
        """The split called `name`; `calibration` falls back on `train`, never on `test`. Raises `StageError`."""
        if self.declared is not None and name not in self.declared:
            raise StageError("data", f"the stage reads split '{name}', which it does not declare")
        if self.invented:
            raise StageError(
                "data",
                f"there is no split '{name}': the case's inputs are random, and what is learned from noise holds for "
                f"noise only; give `data` with the split '{name}'"
                + (
                    ", or use a method that needs none, such as `quantize: dynamic`"
                    if name == "calibration"
                    else ""
                ),
            )
        return self._split(name)

    def sample(self, n: int) -> Inputs:
        """`n` input samples, of the test split where there is data; repeated where there are fewer.

        Raises `StageError` where they take more than `MOST_BYTES`.
        """
        if self.invented:
            return self._draw(n)
        inputs = self._split("test" if "test" in self.splits else next(iter(self.splits), "test")).first(n)
        have = count(inputs)
        if have >= n:
            return inputs
        _check_bytes(n, n * max(nbytes(inputs, None) // max(have, 1), 1))
        return take(inputs, np.arange(n) % have)

    def varying(self) -> dict[str, tuple[int, ...]]:
        """The axes of each input along which samples differ in length, beside the batch's: those that a model must leave open.

        Of the samples that are judged and those that calibrate; of invented samples all have one shape.
        """
        found: dict[str, set[tuple[int, ...]]] = {}
        for split in self._run_on():
            for key, shapes in split.scan().shapes().items():
                found.setdefault(key, set()).update(shapes)
        return {
            key: tuple(axis for axis, sizes in enumerate(zip(*shapes, strict=True)) if len(set(sizes)) > 1)
            for key, shapes in found.items()
            if len(shapes) > 1 and len({len(shape) for shape in shapes}) == 1
        }

    def unlike(self, inputs: Inputs) -> Inputs | None:
        """Samples of another shape than `inputs`, where the data has some."""
        for split in self._run_on():
            if (other := split.unlike(inputs)) is not None:
                return other
        return None

    def _run_on(self) -> Iterator[Split]:
        """The splits whose samples a model runs on; what is wrong with one is said by whoever needs it."""
        for name in () if self.invented else ("test", "calibration"):
            if name in self.splits:
                try:
                    split = self._split(name)
                    split.scan()
                except StageError:
                    continue
                yield split

    def turns(self, n: int) -> tuple[Inputs, ...]:
        """`TURNS` batches of `n` samples, one after the other, for calls that should not all be the same; fewer where
        they would take too much memory.
        """
        one = self.sample(n)
        turns = max(1, min(TURNS, TURNS_BYTES // max(nbytes(one, None), 1)))
        samples = self.sample(n * turns)
        return tuple(take(samples, slice(n * turn, n * (turn + 1))) for turn in range(turns))

    def digest(self, splits: Sequence[str]) -> str:
        """SHA-256 over the content of `splits` and how it is read; for invented inputs, over what they are drawn from."""
        sha = hashlib.sha256(repr(self.layout).encode())
        if self.invented:
            shapes = sorted(self.shapes.items()) if isinstance(self.shapes, Mapping) else self.shapes
            sha.update(repr((shapes, sorted(self.dtypes.items()), self.seed)).encode())
        else:
            for name in splits:
                sha.update(f"{name} {self._split(name).digest()};".encode())
        return sha.hexdigest()

    def notes(self) -> tuple[str, ...]:
        """What a reader of a verdict should know of the test split: samples it shares, NaN, too few of them.

        Reads the splits that have not been read. A training set that is drawn anew each time is left out.
        """
        if "test" not in self.splits:
            return ()
        test = self._split("test").scan()
        rows, found = test.rows(), []
        for name in ("calibration", TRAIN):
            if name in self.splits and self._split(name).steady:
                shared = int(np.isin(rows, self._split(name).scan().rows()).sum())
                if shared:
                    found.append(f"{shared} of {len(rows)} test samples also stand in the split '{name}'")
        found += self.unlike_test("calibration") if "calibration" in self.splits else ()
        if test.not_finite:
            found.append(f"{test.not_finite} of {len(rows)} test samples hold NaN or infinity")
        if test.groups:
            found.append(
                f"the {len(rows)} test samples belong to {len(test.groups)} groups, which are what accuracy is sure by"
            )
        copies = len(rows) - len(np.unique(rows))
        if copies and not test.groups:
            found.append(
                f"{copies} of {len(rows)} test samples are copies of others; unless they repeat in use as well, they are no "
                "evidence of their own: leave them out, or name what belongs together (`groups:`)"
            )
        if len(rows) < FEW:
            found.append(
                f"the test split has {len(rows)} samples, so one more or less is {1 / len(rows):.1%}"
            )
        return tuple(found)

    def unlike_test(self, name: str) -> tuple[str, ...]:
        """A sentence for each input that is of another size in the split `name` than in the test split: two preparations."""
        split = self._split(name)
        if not split.steady:  # its next reading may show something else
            return ()
        found, test = split.scan().sizes(), self._split("test").scan().sizes()
        return tuple(
            f"input {key} is {show(max(one, other) / min(one, other), 'ratio')} {'larger' if one > other else 'smaller'} in "
            f"the split '{name}' than in 'test' (root mean square {one:.3g} and {other:.3g}): are both prepared alike?"
            for key, other in test.items()
            if 0 < (one := found.get(key, 0.0)) < math.inf
            and 0 < other < math.inf
            and not 1 / UNLIKE <= one / other <= UNLIKE
        )

    def _split(self, name: str) -> Split:
        if name == "test" and self.judged is not None:
            return self.judged
        known = self.splits
        if not known:
            raise StageError(
                "data",
                "the case has neither `data` nor `inputs`, and the model leaves its shapes open, so there is nothing to run "
                "it on; give `data`, or the shape of one sample: `inputs: {x: [3, 224, 224]}`",
            )
        found = name if name in known else TRAIN if name == "calibration" and TRAIN in known else None
        if found is None:
            raise StageError(
                "data",
                f"the data has no split '{name}'{did_you_mean(name, map(str, known))}{_remedy(name, known)}",
            )
        if found not in self._opened:
            try:
                split: Split | StageError = replace(
                    open_split(found, known[found], self.layout, self.folder, found == TRAIN),
                    grouped_by=self.layout.groups,
                )
            except StageError as error:  # half a generator must not be read as if it were the whole
                split = error
            self._opened[found] = split
        opened = self._opened[found]
        if isinstance(opened, StageError):
            raise opened
        return opened

    def _draw(self, n: int) -> Inputs:
        """Standard normal samples, zeros and ones for whole numbers."""
        random = np.random.default_rng([self.seed, zlib.crc32(b"test")])
        axes = self.layout.axes

        def draw(name: str, shape: Sequence[int]) -> Array:
            dtype = np.dtype(self.dtypes.get(name, "float32"))
            axis = axes.get(name, 0)
            size = tuple(shape) if axis is None else (*shape[:axis], n, *shape[axis:])
            _check_bytes(n, 8 * math.prod(size))
            if dtype.kind in "iub":
                return random.integers(0, 2, size).astype(dtype)
            return np.asarray(random.standard_normal(size)).astype(dtype)

        if isinstance(self.shapes, Mapping):
            drawn = {name: draw(name, shape) for name, shape in self.shapes.items()}
            return NamedInputs(drawn, axes) if axes else drawn
        return tuple(draw(str(index), shape) for index, shape in enumerate(self.shapes or ()))


def _remedy(name: str, known: Mapping[str, Any]) -> str:
    """What to do about a split that is not there."""
    columns = known.get("test")
    turned = turned_round(columns) if isinstance(columns, Mapping) else ""
    if turned or name != "calibration":
        return turned
    return "; give samples that are not judged, as `calibration` or `train`"


def _check_bytes(n: int, taken: int) -> None:
    if taken > MOST_BYTES:
        raise StageError(
            "data",
            f"a batch of {n} samples takes {show(taken, 'bytes')}, more than the {show(MOST_BYTES, 'bytes')} that one "
            "batch may take; lower `batch`, or the sizes under `inputs`",
        )


def load_data(reference: str, folder: Path, seed: int = 0, layout: Layout | None = None) -> Data:
    """What a case's `data` names: an `.npz`, or a callable that gives the splits; raises `StageError` otherwise."""
    layout = layout or Layout()
    if reference.endswith(".npz"):
        return Data(npz_splits(folder / reference, layout), seed=seed, layout=layout, folder=folder)
    splits = call(reference, folder, stage="data")
    if not isinstance(splits, Mapping) or not splits:
        raise StageError(
            "data",
            f"{reference}() gave {'nothing' if splits is None else f'a {type(splits).__name__}'}; it must give a "
            "mapping of split name ('test', 'calibration', 'train') to samples, such as {'test': (inputs, targets)}",
        )
    return Data(splits, seed=seed, layout=layout, folder=folder)
