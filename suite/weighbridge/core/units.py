"""Quantities as people write them: `5 MB`, `12 ms`, `1 %`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

SCALES: dict[str, dict[str, float]] = {
    "bytes": {"b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30},
    "s": {"ms": 1e-3, "s": 1, "m": 60, "min": 60, "h": 3600},
    "ms": {"us": 1e-3, "µs": 1e-3, "ms": 1, "s": 1e3},
    "fraction": {"%": 0.01},
    "points": {"points": 0.01, "point": 0.01, "pp": 0.01, "%": 0.01},
    "ratio": {"x": 1, "%": 0.01},
    "count": {"k": 1e3, "m": 1e6, "b": 1e9},
    "dB": {"db": 1},
}
_QUANTITY = re.compile(r"^\s*([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([a-zA-Zµ%]+)\s*$")


def parse(text: str, unit: str) -> float:
    """`text` in `unit` (a key of `SCALES`); raises `ValueError` that lists the suffixes allowed."""
    match = _QUANTITY.match(text)
    scale = SCALES.get(unit, {}).get(match.group(2).lower()) if match else None
    if match is None or scale is None:
        raise ValueError(
            f"'{text}' is not a quantity in {unit}; write a number"
            + (f", or one with {', '.join(SCALES[unit])}" if unit in SCALES else "")
        )
    return float(match.group(1)) * scale


_SUFFIXES: dict[str, tuple[tuple[float, str], ...]] = {
    "bytes": ((1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1, " B")),
    "ms": ((1e3, " s"), (1, " ms"), (1e-3, " µs"), (1e-6, " ns")),
    "count": ((1e9, "B"), (1e6, "M"), (1e3, "k"), (1, "")),
    "fraction": ((0.01, " %"),),
    "points": ((0.01, " points"),),
    "ratio": ((1, "x"),),
}
_WHOLE = ("count", "bytes")


def show(value: float, unit: str, digits: int = 3) -> str:
    """`value` for people: `digits` significant digits, with a suffix of its unit; never `1e+03 kB`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size, suffix = _scale(abs(value), unit, digits)
    if value == 0 and unit == "ms":
        size, suffix = 1, " ms"
    text = significant(value / size, len(f"{abs(value):.0f}") if unit in _WHOLE and size == 1 else digits)
    return f"{text}{' point' if suffix == ' points' and text in ('1', '-1') else suffix}"


def span(low: float | None, high: float | None, unit: str) -> str:
    """An interval in the unit of its larger end: `8.62 to 9.42 points`. An end that has no number is None."""
    size, suffix = _scale(max(abs(end or 0.0) for end in (low, high)), unit, 3)
    left, right = ("?" if end is None else significant(end / size) for end in (low, high))
    return f"{left} to {right}{suffix}"


def significant(value: float, digits: int = 3) -> str:
    """`value` to so many digits, as people write it: 1234, 0.00123; with an exponent only where that is absurd."""
    if value == 0 or not 1e-4 <= abs(value) < 1e15:
        return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+", "e")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if decimals else text
    return text if float(text) else "0"


def percent(sure: float) -> str:
    """How sure, never rounded up to certainty: `97 %`, `99.3 %`, `>99.9 %`."""
    if sure > 0.999:
        return ">99.9 %"
    return f"{math.floor(sure * 1000) / 10 if sure >= 0.985 else math.floor(sure * 100):g} %"


def _scale(size: float, unit: str, digits: int) -> tuple[float, str]:
    """The largest scale of which the number, rounded to `digits`, is at least one, with its suffix."""
    scales = _SUFFIXES.get(unit)
    if scales is None:
        return 1, f" {unit}" if unit else ""
    for scale, suffix in scales:
        # A count below ten thousand is read more easily in full.
        least = 1e4 if suffix == "k" else scale * (1 - 0.5 * 10.0**-digits)
        if size >= least:
            return scale, suffix
    return scales[-1]


def digits_apart(one: float, other: float, unit: str, least: int = 3) -> int:
    """How many digits `show` needs so that two numbers that differ look different."""
    for digits in range(least, 12):
        if show(one, unit, digits) != show(other, unit, digits):
            return digits
    return least


def between(left: str, right: str, sign: str = "→") -> str:
    """Two quantities with a sign between them, the unit once where it is the same: `14.9→15.2 kB`."""
    number, gap, unit = left.partition(" ")
    return f"{number if gap and unit == right.partition(' ')[2] else left}{sign}{right}"


def arrow(before: float, after: float, unit: str) -> str:
    """What a number was and is, with as many digits as tell the two apart; a share to a tenth of a percent at least."""
    if unit == "fraction" and f"{before:.3f}" != f"{after:.3f}":
        return f"{before * 100:.1f}→{after * 100:.1f} %"
    digits = digits_apart(before, after, unit)
    return between(show(before, unit, digits), show(after, unit, digits))


_ASKS = {"min": "needs", "max": "allows", "equals": "needs exactly"}


def compared(name: str, value: float, limit: Mapping[str, Any], unit: str, beside: str = "") -> str:
    """`size_ratio 2.46x, needs 3x`: a number beside its limit, which states some of `min`, `max` and `equals`."""
    bounds = {side: limit[side] for side in _ASKS if limit.get(side) is not None}
    digits = max((digits_apart(value, bound, unit) for bound in bounds.values()), default=3)
    asked = [f", {_ASKS[side]} {show(bound, unit, digits)}" for side, bound in bounds.items()]
    return f"{name} {show(value, unit, digits)}{beside}{''.join(asked)}"
