"""What a case file states for a step, an engine or a threshold: checked, frozen options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from weighbridge.core.errors import UsageError
from weighbridge.core.units import parse


class Options(BaseModel):
    """Base of every options schema: nothing is coerced, unknown keys and NaN are faults."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
    tunes: ClassVar[Mapping[str, Sequence[Any]]] = {}
    """A step's options that are worth another try, with the values to try, numbers in their order. A search chooses among
    them, and leaves a step without any alone."""
    serves: ClassVar[Sequence[str]] = ()
    """The measurements for which alone a search takes the step, where it helps neither size nor speed."""
    before_quantizing: ClassVar[Mapping[str, Any]] = {}
    """With which options the step is tried in front of a quantizer that lost too much of the outputs; empty: it is not."""


def check_confidence(confidence: float) -> None:
    """Raises `ValueError` for what is no confidence that can be demanded: a coin has one half, nothing has 1."""
    if not 0.5 < confidence < 1:
        hint = f"; did you mean {confidence / 100:g}?" if 50 < confidence < 100 else ""
        raise ValueError(f"is a probability above 0.5 and below 1, not {confidence:g}{hint}")


def read_confidence(text: str) -> float:
    """`0.95` or `95 %` as a number; raises `ValueError`, to be read after the name of what holds it."""
    try:
        confidence = parse(text, "fraction") if "%" in text else float(text)
    except ValueError:
        raise ValueError(f"is a number such as 0.95, not '{text}'") from None
    check_confidence(confidence)
    return confidence


def confidence_of(settings: Mapping[str, Any] | None) -> float | None:
    """`weighbridge_confidence` among pytest's settings, for the commands beside pytest; raises `UsageError`."""
    stated = str((settings or {}).get("weighbridge_confidence", ""))
    try:
        return read_confidence(stated) if stated else None
    except ValueError as error:
        raise UsageError(f"weighbridge_confidence {error}") from None


class EngineOptions(Options):
    """Options that every engine takes. One thread unless the case says otherwise: see ARCHITECTURE.md."""

    threads: int = Field(default=1, ge=1, le=1024, description="How many threads it computes with.")


class Limit(Options):
    """A threshold as the case states it. At least one of `min`, `max`, `equals`."""

    min: float | None = Field(default=None, description="At least.")
    max: float | None = Field(default=None, description="At most.")
    equals: float | None = Field(default=None, description="Exactly.")
    confidence: float | None = Field(
        default=None,
        description="The verdict must be at least this sure, between 0.5 and 1, or it is inconclusive.",
    )

    @property
    def earlier(self) -> str | None:
        """The earlier run that the candidate is held against, in place of the original; None where it is not."""
        return None

    def demanding(self, confidence: float | None) -> Limit:
        """The same limit, with the `confidence` of the whole run where it states none itself."""
        return self if self.confidence else self.model_copy(update={"confidence": confidence})

    def __str__(self) -> str:
        parts = [
            f"{sign} {value:.6g}"
            for sign, value in ((">=", self.min), ("<=", self.max), ("==", self.equals))
            if value is not None
        ]
        return " and ".join(parts)


class RelativeLimit(Limit):
    """A limit on how the candidate compares: with the original, or with what an earlier run had."""

    against: str | None = Field(
        default=None,
        description="A branch, a run, a commit or a report file: the candidate of then takes the original's place.",
    )

    @property
    def earlier(self) -> str | None:
        return self.against
