"""What a case file states for a step, an engine or a threshold: checked, frozen options."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """Base of every options schema: nothing is coerced, unknown keys and NaN are faults."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class EngineOptions(Options):
    """Options that every engine takes. One thread unless the case says otherwise: see ARCHITECTURE.md."""

    threads: int = Field(default=1, ge=1, le=1024)


class Limit(Options):
    """A threshold as the case states it. At least one of `min`, `max`, `equals`."""

    min: float | None = None
    max: float | None = None
    equals: float | None = None
    confidence: float | None = None
    """Given: the interval at this confidence must clear the limit, not only the point estimate."""

    def __str__(self) -> str:
        parts = [
            f"{sign} {value:.6g}"
            for sign, value in ((">=", self.min), ("<=", self.max), ("==", self.equals))
            if value is not None
        ]
        return " and ".join(parts)
