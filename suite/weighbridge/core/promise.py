"""What a quantize step promises about the weights: read by the round trip, and held against the artifact."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Promise:
    """What a quantize step promises about each weight. None leaves a property open, and it is not checked.

    `axis` (of the channels, or along which groups run) is that of the stored layout; None where layouts differ by
    operator. Raises `ValueError` where the fields contradict each other.
    """

    bits: int | None = 8
    granularity: Literal["tensor", "channel", "group"] | None = None
    group_size: int | None = None
    """Numbers that share a scale; with `granularity: group` only."""
    axis: int | None = None
    symmetric: bool | None = None
    signed: bool | None = None
    pattern: str | None = None
    """`2:4`: at least two zeros in every four codes along one of the axes."""
    dtype: str | None = None
    """A reduced float such as `float16`, instead of integers."""
    reduce_range: bool = False
    """One bit of the codes is left unused."""
    minmax: bool = True
    """Scales span the weights; False for a step that clips them."""
    nearest: bool = True
    """Codes are rounded to nearest; False for a step that rounds otherwise."""
    within: float = 0.5
    """Steps that a code may be away from its number: half of one is the nearest, one is either of the two next to it."""

    def __post_init__(self) -> None:
        if (self.granularity == "group") != (self.group_size is not None):
            raise ValueError("group_size and granularity 'group' belong together")
        if self.dtype is not None and self.bits is not None:
            raise ValueError(f"{self.dtype} says how many bits there are; leave `bits` None")
        if self.pattern is not None and not re.fullmatch(r"[1-9]\d*:[1-9]\d*", self.pattern):
            raise ValueError(f"a pattern is N:M, for example 2:4, not {self.pattern!r}")

    @property
    def element(self) -> str:
        """What a weight is asked to be, in words."""
        return self.dtype or f"{self.bits or 8} bits"
