"""What a graph does with a weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
