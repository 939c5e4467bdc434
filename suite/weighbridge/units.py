"""Quantities as people write them: `5 MB`, `12 ms`, `1 %`."""

from __future__ import annotations

import re

SCALES: dict[str, dict[str, float]] = {
    "bytes": {"b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30},
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
        raise ValueError(f"'{text}' is not a quantity in {unit}; write a number"
                         + (f", or one with {', '.join(SCALES[unit])}" if unit in SCALES else ""))
    return float(match.group(1)) * scale


def show(value: float, unit: str) -> str:
    """`value` for people: 3 significant digits, with a suffix."""
    if unit == "bytes":
        for suffix, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if abs(value) >= size:
                return f"{value / size:.3g} {suffix}"
        return f"{value:.0f} B"
    if unit == "count":
        for suffix, size in (("M", 1e6), ("k", 1e3)):
            if abs(value) >= 10 * size:
                return f"{value / size:.3g}{suffix}"
        return f"{value:.0f}"
    if unit == "ms":
        return f"{value / 1e3:.3g} s" if abs(value) >= 1e3 else f"{value:.3g} ms" if abs(value) >= 1 else f"{value * 1e3:.3g} µs"
    if unit == "fraction":
        return f"{value * 100:.2f} %"
    if unit == "ratio":
        return f"{value:.3g}x"
    return f"{value:.4g}{f' {unit}' if unit else ''}"
