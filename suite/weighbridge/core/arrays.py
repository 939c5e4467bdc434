"""What numbers come in: an array, and a batch for a model. Imports no numpy, so that the contracts stay light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"
Inputs: TypeAlias = "tuple[Array, ...] | dict[str, Array]"
"""A batch for a model: positional, or by the names of its inputs. The first axis is the batch."""


def is_text(array: Array) -> bool:
    """Whether it holds words, as the names of classes that scikit-learn's exports give: they have no distance."""
    return array.dtype.kind in "OUS"


def are_choices(array: Array) -> bool:
    """Whether it holds the numbers of what was chosen, as an ArgMax gives classes: these have no distance either.

    Smaller integers are quantized numbers, or the pixels of a picture.
    """
    return array.dtype in ("int32", "int64")
