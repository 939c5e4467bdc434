"""Quantities as people write them: `5 MB`, `12 ms`, `1 %`."""

from __future__ import annotations

import math
import re

SCALES: dict[str, dict[str, float]] = {
    "bytes": {"b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30},
    "s": {"ms": 1e-3, "s": 1, "m": 60, "min": 60, "h": 3600},
    "ms": {"us": 1e-3, "µs": 1e-3, "ms": 1, "s": 1e3},
    "fraction": {"%": 0.01, "pp": 0.01},
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


def show(value: float, unit: str, digits: int = 3) -> str:
    """`value` for people: `digits` significant digits, with a suffix."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if unit == "bytes":
        for suffix, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if abs(value) >= size:
                return f"{value / size:.{digits}g} {suffix}"
        return f"{value:.0f} B"
    if unit == "count":
        for suffix, size, least in (("M", 1e6, 1e6), ("k", 1e3, 1e4)):
            if abs(value) >= least:
                return f"{value / size:.{digits}g}{suffix}"
        return f"{value:.0f}"
    if unit == "ms":
        if abs(value) >= 1e3:
            return f"{value / 1e3:.{digits}g} s"
        return f"{value:.{digits}g} ms" if abs(value) >= 1 or value == 0 else f"{value * 1e3:.{digits}g} µs"
    if unit == "fraction":
        return f"{value * 100:.{digits}g} %"
    if unit == "ratio":
        return f"{value:.{digits}g}x"
    return f"{value:.{digits}g}{f' {unit}' if unit else ''}"


def digits_apart(one: float, other: float, unit: str, least: int = 3) -> int:
    """How many digits `show` needs so that two numbers that differ look different."""
    for digits in range(least, 12):
        if show(one, unit, digits) != show(other, unit, digits):
            return digits
    return least
