"""How many times a model was loaded for a timed measurement, in words: its interval is over these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def count_of(details: Mapping[str, Any]) -> str:
    """`10 loads`; empty for what is no such measurement."""
    loads = details.get("loads")
    return f"{loads} load{'s' if loads != 1 else ''}" if loads else ""


def in_words(details: Mapping[str, Any]) -> str:
    """`10 loads in 5 processes, which differ by 1.3 %` (one standard deviation); empty for what is no such measurement."""
    loads, processes, spread = (details.get(name) for name in ("loads", "processes", "spread"))
    if not loads:
        return ""
    where = f" in {processes} processes" if processes and processes > 1 else ""
    apart = f", which differ by {100 * spread:.2g} %" if spread is not None else ""
    return f"{count_of(details)}{where}{apart}"
