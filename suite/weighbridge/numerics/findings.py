"""A stored weight beside its float, and what is wrong with it that its codes alone do not show."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from weighbridge.contracts import Promise, Quantization, StoredTensor
from weighbridge.numerics.elements import ELEMENTS, Array
from weighbridge.numerics.matching import SAME, family, share_within
from weighbridge.numerics.schemes import Scheme

FILLED = 0.99
"""The part of the range of int32 that a bias takes where a scale was widened for it."""


@dataclass(frozen=True)
class Finding:
    """One way in which a weight is not what was asked for. `index` and `channel` name a number where there is one."""

    layer: str
    message: str
    index: tuple[int, ...] | None = None
    channel: int | None = None

    def __str__(self) -> str:
        return f"{self.layer}: {self.message}"


@dataclass(frozen=True)
class Weight:
    """A stored weight with the float numbers it was made of, in the stored layout; None where none fits."""

    layer: str
    stored: StoredTensor
    quantization: Quantization
    original: Array | None
    named: bool = False
    """Whether the original was found by its name, so that it is the one whatever the numbers are."""
    bias: StoredTensor | None = None
    """What the same operator adds to the product."""

    @property
    def scheme(self) -> Scheme | None:
        """The integer scheme that it is stored in; None for reduced floats and widths that have no name here."""
        bits, unsigned = self.quantization.bits, self.stored.dtype.startswith("u")
        element = f"{'u' if unsigned else ''}int{bits}"
        if self.quantization.scheme != "affine" or element not in ELEMENTS:
            return None
        axis, group = self.quantization.axis, self.quantization.group_size
        scheme = Scheme(element, axis=-1 if axis is None and group else axis, group_size=group)
        symmetric = bool(np.all(self.quantization.zero_point == scheme.middle))
        return Scheme(element, symmetric, scheme.axis, group)


def left_in_float(
    plain: Sequence[StoredTensor],
    weights: Sequence[Weight],
    asked: str,
    exclude: Sequence[str],
    left: Collection[str] = (),
) -> Iterator[Finding]:
    """Weights that stayed in float where others that the same operator reads did not, and nobody asked for it.

    `exclude` holds patterns of what was to stay, and `left` names of weights.
    A pattern that fits no weight and no layer is of a node's name, which is not known here: then nothing is said.
    """
    done = {family(weight.stored.operator) for weight in weights}
    names = {
        name
        for tensor in (*plain, *(weight.stored for weight in weights))
        for name in (tensor.name, tensor.layer)
    }
    if any(not any(fnmatchcase(name, pattern) for name in names) for pattern in exclude):
        return
    for tensor in plain:
        excluded = tensor.name in left or any(
            fnmatchcase(name, pattern) for name in (tensor.name, tensor.layer) for pattern in exclude
        )
        eligible = tensor.use.role == "weight" and not tensor.use.inner and tensor.dtype == "float32"
        if eligible and tensor.operator and family(tensor.operator) in done and not excluded:
            yield Finding(
                tensor.layer or tensor.name,
                f"asked for weights of {asked}, '{tensor.name}' of a {tensor.operator} is left in float, as no other one is; "
                "where that is meant, name it in `exclude`",
            )


def widened(weight: Weight, shape: tuple[int, ...]) -> Array:
    """Where the scale was made larger so that the int32 bias, whose scale follows from it, is not cut off.

    ONNX Runtime does that; the bias then fills the range of its codes.
    """
    bias = weight.bias
    if bias is None or bias.quantization is None or bias.quantization.bits != 32:
        return np.zeros(shape, bool)
    full = np.abs(bias.array.astype(np.float64)).reshape(-1) >= FILLED * 2.0**31
    if len(shape) == 1 and full.size == shape[0]:
        return full
    return np.full(shape, full.any())


def misplaced(weight: Weight, promise: Promise) -> Iterator[Finding]:
    """What bears the name of a float holds its numbers: not zeros, not another layer's, not its transpose."""
    if not weight.named or weight.original is None or not np.isfinite(weight.original).all():
        return
    if weight.stored.use.role == "weight" and weight.scheme is not None and promise.nearest:
        return  # each number was compared
    share = share_within(weight.stored, weight.original)
    if share < SAME:
        yield Finding(
            weight.layer,
            f"'{weight.stored.name}' does not hold the numbers that it held before quantization: {1 - share:.0%} of them "
            "are more than a step away",
        )
