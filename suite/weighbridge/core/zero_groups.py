"""Zeros that come in groups: at most `n` of `m` neighbours not zero, or none of a block. Pure functions of arrays.

A weight is looked at as [outputs, inputs, …]; what stands behind (the positions of a kernel) has groups of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

from weighbridge.core.arrays import Array


@dataclass(frozen=True)
class ZeroGroups:
    """Groups of `rows` outputs by `columns` inputs, of which at most `nonzero` numbers are not zero.

    `every` group of a weight keeps to it, or those that a step chose.
    """

    rows: int
    columns: int
    nonzero: int
    every: bool

    def __str__(self) -> str:
        if self.nonzero:
            return f"{self.nonzero}:{self.columns}"
        return f"{self.rows}x{self.columns} blocks"

    def fit(self, outputs: int, inputs: int) -> bool:
        """Whether a weight of so many outputs and inputs is made of whole groups."""
        return outputs % self.rows == 0 and inputs % self.columns == 0

    def split(self, weight: Array) -> Array:
        """`weight` [outputs, inputs, …] as [outputs / rows, rows, inputs / columns, columns, …]."""
        outputs, inputs, *rest = weight.shape
        shape = (outputs // self.rows, self.rows, inputs // self.columns, self.columns, *rest)
        return weight.reshape(shape)

    def counts(self, weight: Array) -> Array:
        """How many numbers of each group are not zero, [outputs / rows, inputs / columns, …]."""
        import numpy as np

        counts: Array = np.count_nonzero(self.split(weight), axis=(1, 3))
        return counts

    def kept(self, weight: Array) -> int:
        """How many groups keep to it."""
        import numpy as np

        return int(np.count_nonzero(self.counts(weight) <= self.nonzero))


def as_rows(array: Array, layout: str) -> Array:
    """A view [outputs, inputs, …] of an array whose axes are those letters (`Use.layout`)."""
    import numpy as np

    view: Array = np.moveaxis(array, (layout.index("o"), layout.index("i")), (0, 1))
    return view


def as_stored(rows: Array, layout: str) -> Array:
    """The reverse of `as_rows`."""
    import numpy as np

    array: Array = np.moveaxis(rows, (0, 1), (layout.index("o"), layout.index("i")))
    return array


def views(array: Array, layout: str) -> Iterator[Array]:
    """`array` as [outputs, inputs, …]: the one way that `layout` says, or all where it says nothing."""
    if "o" in layout and "i" in layout:
        yield as_rows(array, layout)
        return
    import numpy as np

    for first, second in permutations(range(array.ndim), 2):
        yield np.moveaxis(array, (first, second), (0, 1))
