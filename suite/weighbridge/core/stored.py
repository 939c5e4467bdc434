"""How a weight is stored, and what a graph does with it."""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class StoredTensor:
    """A weight as the artifact stores it. `array` holds codes when `quantization` is set, values otherwise.

    Packed formats are unpacked: int4 codes come as int8, one a number. `stored_bytes` is what the file spends.
    """

    name: str
    array: Array
    dtype: str
    stored_bytes: int
    quantization: Quantization | None = None
    layer: str = ""
    operator: str = ""
    use: Use = field(default_factory=Use)
    unread: str = ""
    """Why it is not known what these numbers stand for. Whoever counts weights raises this, so that no count is too small."""

    @property
    def is_matrix(self) -> bool:
        """Whether its zeros and bits are judged: weights of two or more dimensions.

        Biases stay dense and wide by design, and so do the operands that are none: a vector with axes of 1 (a mean, a
        gain), and a mask, which holds two different numbers at most.
        """
        if self.array.ndim < 2 or self.use.role == "bias":
            return False
        return self.use.role != "operand" or not (self._is_vector() or self._is_mask())

    def _is_vector(self) -> bool:
        return len([side for side in self.array.shape if side > 1]) < 2

    def _is_mask(self) -> bool:
        if not self.array.size:
            return True
        return bool(((self.array == self.array.min()) | (self.array == self.array.max())).all())

    def values(self) -> Array:
        """The numbers the model computes with: dequantized, in float."""
        from weighbridge.numerics.codes import dequantize_stored

        return dequantize_stored(self)

    def nonzero(self) -> int:
        """How many of them are not zero: a code equal to its zero point is a zero."""
        from weighbridge.numerics.codes import count_nonzero

        return count_nonzero(self)
