"""What a quantizer implements to be property-tested, and the registry that tests every one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from weighbridge.contracts import Requirement
from weighbridge.core.registry import Registry
from weighbridge.numerics.elements import Array
from weighbridge.numerics.reference import Quotient
from weighbridge.numerics.schemes import Parameters, Scheme

if TYPE_CHECKING:
    from weighbridge.numerics.trial import Trial


@dataclass(frozen=True)
class KnownDifference:
    """Where an implementation breaks a property, known and written up in docs/known-differences.md.

    The property is waived on the trials that `where` selects, and nowhere else. `scheme`, `x` and `parameters` are
    the smallest trial that shows it: a test holds that it still does, so that a mended implementation does not
    keep its waiver.
    """

    property: str
    where: Callable[[Trial], bool]
    scheme: Scheme
    x: Sequence[float]
    parameters: Parameters | None
    note: str
    version: str
    """The package and version in which it was seen."""


@runtime_checkable
class Quantizer(Protocol):
    """Tensors to codes and back. `x` is float32, of any shape and memory layout, and must not be changed."""

    def __hash__(self) -> int: ...

    @property
    def name(self) -> str: ...

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines (`onnxruntime`) or quantize methods whose arithmetic this is: cases that use them test it."""
        ...

    @property
    def requires(self) -> tuple[Requirement, ...]: ...

    @property
    def nan(self) -> Literal["refused", "kept"]:
        """What the contract says of NaN: a `ValueError`, or a NaN code (only floats have one)."""
        ...

    @property
    def bit_exact(self) -> Quotient | None:
        """The arithmetic in which its codes are the reference's to the bit; None where only the nearest is promised."""
        ...

    @property
    def smallest_scale(self) -> float:
        """No chosen scale is smaller."""
        ...

    @property
    def known(self) -> Sequence[KnownDifference]: ...

    def supports(self, scheme: Scheme) -> bool: ...

    def accepts(self, scheme: Scheme, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape, which has the scheme's axis, can be quantized: limits that are documented."""
        ...

    def quantize(self, x: Array, parameters: Parameters, scheme: Scheme) -> Array:
        """The codes, of x's shape: integers, or floats for a float element."""
        ...

    def dequantize(self, codes: Array, parameters: Parameters, scheme: Scheme) -> Array:
        """The values that codes stand for."""
        ...


@runtime_checkable
class Chooses(Protocol):
    """A quantizer that also chooses its parameters; for others the reference's are used."""

    def choose(self, x: Array, scheme: Scheme) -> Parameters: ...


@runtime_checkable
class Packs(Protocol):
    """A quantizer that also stores its codes in bytes."""

    def pack(self, codes: Array, scheme: Scheme) -> Array:
        """uint8."""
        ...

    def unpack(self, packed: Array, shape: tuple[int, ...], scheme: Scheme) -> Array: ...


@runtime_checkable
class PacksSparse(Protocol):
    """A quantizer that stores 2:4 sparse codes as (kept codes, positions), both uint8."""

    def pack_2_4(self, codes: Array, scheme: Scheme) -> tuple[Array, Array]: ...

    def unpack_2_4(self, packed: tuple[Array, Array], shape: tuple[int, ...], scheme: Scheme) -> Array: ...


@runtime_checkable
class Multiplies(Protocol):
    """A quantizer with an integer matrix product of its codes."""

    def matmul(self, a: Array, b: Array, scheme: Scheme) -> Array:
        """The exact product of code matrices [M, K] and [K, N]."""
        ...


QUANTIZERS: Registry[Quantizer] = Registry("quantizer under test")
