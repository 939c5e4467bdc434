"""A list in a sentence, which names a few and counts the others."""

from __future__ import annotations

from collections.abc import Iterable


def few(found: Iterable[str], most: int = 6, between: str = ", ") -> str:
    """`a, b, c and 4 more`: the first `most` of them; the data has all."""
    names = list(found)
    more = len(names) - most
    return between.join(names[:most]) + (f" and {more} more" if more > 0 else "")
