"""What a quantizer is asked for: the element, the granularity, the rounding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from weighbridge.contracts import Promise
from weighbridge.numerics.codes import spread
from weighbridge.numerics.elements import ELEMENTS, Array, Element, Float, Integer, Rounding


@dataclass(frozen=True)
class Scheme:
    """A way to turn float32 numbers into codes. Raises `ValueError` where the fields contradict each other.

    `axis` None is per-tensor; an axis alone is per-channel; with `group_size`, every run of so many numbers along
    it shares its parameters. `narrow` leaves the lowest code of a signed integer unused. A float element that is
    not `scaled` is a plain cast (scale 1). Without `saturate`, floats beyond the range become infinity or NaN.
    """

    element: str = "int8"
    symmetric: bool = True
    axis: int | None = None
    group_size: int | None = None
    narrow: bool = False
    rounding: Rounding = "half_even"
    saturate: bool = True
    scaled: bool = True

    def __post_init__(self) -> None:
        if self.element not in ELEMENTS:
            raise ValueError(f"unknown element '{self.element}' (valid: {', '.join(ELEMENTS)})")
        if self.group_size is not None and (self.axis is None or self.group_size < 1):
            raise ValueError("a group_size needs an axis and must be at least 1")
        integer = isinstance(self.type, Integer)
        if not integer and not self.symmetric:
            raise ValueError("reduced floats have no zero point: they are symmetric")
        if integer and not (self.saturate and self.scaled):
            raise ValueError("integers are always scaled and always saturate")
        if self.narrow and not (integer and self.type.signed):
            raise ValueError("only signed integers have a lowest code to leave out")
        if not self.scaled and self.axis is not None:
            raise ValueError("a plain cast has no axis")

    @property
    def type(self) -> Element:
        return ELEMENTS[self.element]

    @property
    def bits(self) -> int:
        return self.type.bits

    @property
    def lowest(self) -> float:
        """The lowest code."""
        return self.type.lowest + (1 if self.narrow else 0)

    @property
    def highest(self) -> float:
        """The highest code."""
        return self.type.highest

    @property
    def middle(self) -> int:
        """The zero point of a symmetric scheme: 0, or half of the range where codes are unsigned."""
        return 0 if self.type.signed else 2 ** (self.bits - 1)

    @property
    def granularity(self) -> str:
        if self.axis is None:
            return "per-tensor"
        return "per-channel" if self.group_size is None else f"per-group of {self.group_size}"

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of scale and zero point for a tensor of `shape`: (), [C], or `shape` with groups."""
        if self.axis is None:
            return ()
        if self.group_size is None:
            return (shape[self.axis],)
        groups = list(shape)
        groups[self.axis] = -(-shape[self.axis] // self.group_size)
        return tuple(groups)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of `shape` has the axis."""
        return self.axis is None or -len(shape) <= self.axis < len(shape)

    @classmethod
    def promised(cls, promise: Promise, axis: int = 0) -> Scheme:
        """The scheme that a recipe's promise names; `axis` where the promise leaves it open.

        What else the promise leaves open is int8, symmetric, per-tensor, whole range. A reduced float is a plain cast.
        """
        if promise.dtype is not None:
            return cls(promise.dtype, saturate=False, scaled=False)
        return cls(
            element=f"{'u' if promise.signed is False else ''}int{promise.bits or 8}",
            symmetric=promise.symmetric is not False,
            axis=None
            if promise.granularity in (None, "tensor")
            else axis
            if promise.axis is None
            else promise.axis,
            group_size=promise.group_size,
        )


@dataclass(frozen=True)
class Parameters:
    """Scale (float32) and zero point (int64), each of the scheme's `parameter_shape`."""

    scale: Array
    zero_point: Array

    def __post_init__(self) -> None:
        # numpy turns 0-d results into scalars, which some runtimes refuse.
        object.__setattr__(self, "scale", np.asarray(self.scale))
        object.__setattr__(self, "zero_point", np.asarray(self.zero_point))

    def spread(self, shape: tuple[int, ...], scheme: Scheme) -> tuple[Array, Array]:
        """Both in float64, in shapes that broadcast against a tensor of `shape`."""
        scale, zero_point = (
            spread(parameter, shape, scheme.axis, scheme.group_size).astype(np.float64)
            for parameter in (self.scale, self.zero_point)
        )
        return scale, zero_point


def all_schemes() -> Iterator[Scheme]:
    """A finite selection that has every element in every granularity: what properties are drawn from."""
    places: tuple[tuple[int | None, int | None], ...] = (
        (None, None), (0, None), (1, None), (-1, None), (-1, 2), (0, 3), (1, 2), (-1, 16), (-1, 32),
    )  # fmt: skip
    roundings: tuple[Rounding, ...] = ("half_even", "half_away")
    for (name, element), (axis, group_size), rounding in product(ELEMENTS.items(), places, roundings):
        if isinstance(element, Float):
            for saturate in (True, False):
                yield Scheme(name, True, axis, group_size, False, rounding, saturate)
                if axis is None:
                    yield Scheme(name, rounding=rounding, saturate=saturate, scaled=False)
            continue
        for symmetric in (True, False):
            yield Scheme(name, symmetric, axis, group_size, False, rounding)
        if element.signed:
            yield Scheme(name, True, axis, group_size, True, rounding)
