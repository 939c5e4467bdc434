"""How a property is entered, and how it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from weighbridge.numerics.elements import Array, Integer
from weighbridge.numerics.quantizer import Chooses
from weighbridge.numerics.trial import Trial
from weighbridge.numerics.violation import Violation


@dataclass(frozen=True)
class Property:
    """`check` raises `Violation`; `applies` says for which trials the property is promised at all."""

    name: str
    doc: str
    check: Callable[[Trial], None]
    applies: Callable[[Trial], bool]


PROPERTIES: dict[str, Property] = {}


def property_(
    applies: Callable[[Trial], bool] = lambda trial: True,
) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Enter a function into `PROPERTIES` under its own name."""

    def enter(check: Callable[[Trial], None]) -> Callable[[Trial], None]:
        PROPERTIES[check.__name__] = Property(check.__name__, check.__doc__ or "", check, applies)
        return check

    return enter


class Broken(Exception):
    """Raised by a property that does not hold; `check` tells whose it is."""

    def __init__(self, message: str, index: tuple[int, ...] | None = None) -> None:
        self.message, self.index = message, index
        super().__init__(message)


def require(holds: Array, trial: Trial, message: str) -> None:
    """Raise `Broken` at the first index where `holds` is False."""
    if not np.all(holds):
        broken = np.argwhere(~np.broadcast_to(holds, trial.x.shape))
        raise Broken(message, tuple(int(i) for i in broken[0]))


def require_equal(got: Array, wanted: Array, trial: Trial, message: str) -> None:
    """The same shape, and the same numbers in every place; NaN equals NaN."""
    if np.shape(got) != np.shape(wanted):
        raise Broken(f"{message}: shape {np.shape(got)}, not {np.shape(wanted)}")
    same = (got == wanted) | ((got != got) & (wanted != wanted))
    if not np.all(same):
        index = tuple(int(i) for i in np.argwhere(~np.asarray(same))[0])
        inside = index if np.shape(got) == trial.x.shape else None
        raise Broken(f"{message}: {got[index]!s}, not {wanted[index]!s}", inside)


def chosen(trial: Trial) -> bool:
    """Whether the quantizer itself chose the parameters."""
    return trial.drawn is None and isinstance(trial.quantizer, Chooses)


def extreme_codes(trial: Trial) -> tuple[float, float]:
    """What numbers far below and far above the range become."""
    if trial.scheme.saturate:
        return trial.scheme.lowest, trial.scheme.highest
    beyond = trial.scheme.type.beyond  # type: ignore[union-attr]
    return -beyond, beyond


def as_codes(codes: Array, trial: Trial) -> Array:
    """Codes in float64 as a quantizer takes them."""
    return codes.astype(np.int64 if isinstance(trial.scheme.type, Integer) else np.float32)


def check(trial: Trial, name: str) -> None:
    """Hold `trial` to one property. Raises `Violation`, also where the quantizer itself raises."""
    entry = PROPERTIES[name]
    try:
        # Infinities, NaN and overflow are what many trials are about.
        with np.errstate(all="ignore"):
            if entry.applies(trial):
                entry.check(trial)
    except Broken as broken:
        raise Violation(name, trial, broken.message, broken.index) from None
    except Exception as error:
        raise Violation(name, trial, f"the quantizer raised {type(error).__name__}: {error}") from error


def check_all(trial: Trial) -> None:
    """Hold `trial` to every property, but for the known differences of its quantizer."""
    for name in PROPERTIES:
        if not any(known.property == name and known.where(trial) for known in trial.quantizer.known):
            check(trial, name)
