"""What prune steps are asked: how much, and of which layers."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from weighbridge.steps.selection import LayerOptions


class PruneOptions(LayerOptions):
    amount: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] = Field(
        description="How much to remove: a fraction between 0 and 1 (0.5 removes half), or a whole number of weights "
        "(of channels for ln_structured, of blocks for block), in each layer or, with `scope: global`, in all of them "
        "together."
    )
    scope: Literal["local", "global"] = Field(
        "local", description="Rank within each layer, or across all of them."
    )

    @field_validator("amount", mode="before")
    @classmethod
    def _possible(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and (0 < value < 1 or (isinstance(value, int) and value >= 1)):
            return value
        hint = ""
        if isinstance(value, str) and value.strip().endswith("%"):
            hint = " (write a percentage as a fraction, 50% as 0.5)"
        elif number and value == 1:
            hint = " (1.0 as a fraction would remove everything; one weight is written 1)"
        elif number and 1 < value < math.inf:
            share = f"{value / 100:g} for {value:g} %, or " if value < 100 else ""
            hint = f" (write {share}{round(value)} for so many weights)"
        raise ValueError(
            f"should be a fraction between 0 and 1, or a whole number of weights or channels{hint}"
        )


class MagnitudeOptions(PruneOptions):
    tunes: ClassVar = {"amount": (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9), "scope": ("global", "local")}
    serves: ClassVar = ("nonzero", "gzip")


class WidthOptions(LayerOptions):
    tunes: ClassVar = {"amount": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), "scope": ("local", "global")}
    amount: float = Field(
        0.5, gt=0, lt=1, description="Share of the channels to remove, of each layer or of all together."
    )
    scope: Literal["local", "global"] = Field(
        "local", description="Rank within each layer, or across all of them."
    )
    round_to: int = Field(
        8, ge=1, description="Widths that stay are multiples of it: kernels are fastest on those that align."
    )
