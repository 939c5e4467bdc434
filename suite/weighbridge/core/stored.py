"""How a weight is stored, and what a graph does with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weighbridge.core.arrays import Array

Role = Literal["weight", "table", "bias", "operand"]


@dataclass(frozen=True)
class Use:
    """How the graph reads a weight, where the format can tell."""

    role: Role = "weight"
    """`weight`: multiplied in a product (a matrix, a filter), what a recipe means by weights. `table`: rows are looked
    up. `bias`: added to a product. `operand`: added, scaled by or joined to activations (positions, masks)."""
    layout: str = ""
    """A letter an axis: `io` is a matrix whose rows are inputs, `oi` its transpose. Empty where it is not known."""
    bias: str = ""
    """The name of the tensor that the same operator adds to the product."""
    inner: bool = False
    """Whether the operator stands in a body of control flow or a function, which most tools pass by."""


@dataclass(frozen=True)
class Quantization:
    """How a tensor is quantized: value = (code - zero_point) * scale.

    `scale` and `zero_point` are 0-d (per-tensor), of shape [C] with C = codes.shape[axis] (per-channel), or
    [..., groups] (per-group, with `group_size` along `axis`).
    """

    bits: int
    scale: Array
    zero_point: Array
    axis: int | None = None
    group_size: int | None = None
    scheme: str = "affine"
    """`affine` for integers; `float16`, `bfloat16`, `float8_e4m3fn`, ... for reduced floats."""
