"""Which layers of a model a step works on: `layers` and `exclude`, the same for every step and format.

A pattern is held, case-sensitively, against a layer's name and its other handles (`*` and `?` as in file names). One
that fits none of these may be a type, written in full: `Conv2d`, `MatMul`, `FULLY_CONNECTED`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pydantic import Field

from weighbridge.contracts import Options
from weighbridge.core.errors import StageError, did_you_mean

_LISTED = 60
"""Valid names that an error lists: a large graph has thousands."""


class LayerOptions(Options):
    layers: list[str] = Field(
        default_factory=lambda: ["*"],
        min_length=1,
        description="Names, patterns or types of the layers that the step takes.",
    )
    exclude: list[str] = Field(
        default_factory=list, description="Names, patterns or types of the layers that it leaves as they are."
    )


@dataclass(frozen=True)
class Layer:
    """Something that a pattern can choose. `handles` are further names it goes by: its weights, the layer these belong to."""

    name: str
    kind: str
    handles: frozenset[str] = frozenset()

    def goes_by(self, pattern: str) -> bool:
        return any(fnmatchcase(handle, pattern) for handle in (self.name, *self.handles))


def select(
    stage: str, what: str, layers: Sequence[Layer], include: Sequence[str], exclude: Sequence[str]
) -> list[Layer]:
    """The layers that `include` chooses and `exclude` does not, in their order.

    Raises `StageError` for a pattern that fits no layer, and where none is left; `what` names the layers in its text
    ("no Linear or convolution").
    """
    chosen = matching(stage, "layers", what, layers, include) if include else set(layers)
    dropped = matching(stage, "exclude", what, layers, exclude)
    left = [layer for layer in layers if layer in chosen and layer not in dropped]
    if not left and layers:
        raise StageError(stage, "`exclude` leaves no layer to work on")
    return left


def matching(
    stage: str, option: str, what: str, layers: Sequence[Layer], patterns: Iterable[str]
) -> set[Layer]:
    """The layers that at least one of `patterns` fits; raises `StageError` for a pattern that fits none."""
    found: set[Layer] = set()
    for pattern in patterns:
        fitting = {layer for layer in layers if layer.goes_by(pattern)} or {
            layer for layer in layers if layer.kind == pattern
        }
        if not fitting:
            names = {handle for layer in layers for handle in (layer.name, *layer.handles) if handle}
            listed = sorted(names)[:_LISTED]
            kinds = sorted({layer.kind for layer in layers})
            raise StageError(
                stage,
                f"{option}: {what} matches '{pattern}'{did_you_mean(pattern, listed)}"
                + (f"; or a type: {', '.join(kinds)}" if kinds else ""),
            )
        found |= fitting
    return found
