"""A limit of the report contract, in words. Its numbers are never parsed back from text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weighbridge.core.units import show

SIGNS = {"min": "≥", "max": "≤", "equals": "="}


def bounds(limit: Mapping[str, Any]) -> dict[str, float]:
    """The bounds that a limit states: some of `min`, `max`, `equals`."""
    return {side: limit[side] for side in SIGNS if limit.get(side) is not None}


def words(limit: Mapping[str, Any], unit: str, digits: int = 3) -> str:
    """`≥ 3x`, or `≥ 20 dB and ≤ 40 dB, confidence 0.99`; empty where the verdict compares no numbers."""
    stated = " and ".join(
        f"{SIGNS[side]} {show(value, unit, digits)}" for side, value in bounds(limit).items()
    )
    return ", ".join(filter(None, [stated, *(_option(key, value) for key, value in limit.items())]))


def _option(key: str, value: Any) -> str:
    if key in SIGNS or value is None or value is False:
        return ""
    if key == "stated":
        return str(value)
    if isinstance(value, list | tuple):
        return f"{key} {', '.join(map(str, value)) or 'nothing'}"
    return f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
