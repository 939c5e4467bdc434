"""Text for a terminal: how wide it is, cut or wrapped to fit, in colour."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Callable

Paint = Callable[[str, str | None], str]
"""Colours a text by the status it speaks of; None stays as it is."""
_COLORS = {
    "pass": "32",
    "unsure": "33",
    "fail": "31;1",
    "error": "31;1",
    "inconclusive": "33;1",
    "unmeasured": "36",
    "skip": "36",
    "xfail": "33",
    "quiet": "2",
}


def painter(color: bool) -> Paint:
    """A `Paint` that colours by ANSI codes, or one that leaves the text alone."""

    def paint(text: str, status: str | None) -> str:
        return f"\033[{_COLORS[status]}m{text}\033[0m" if color and text and status in _COLORS else text

    return paint


def width_of(text: str) -> int:
    """Columns that `text` takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
    )


def pad(text: str, width: int) -> str:
    return text + " " * max(0, width - width_of(text))


def cut(text: str, width: int) -> str:
    """`text` in `width` columns: the middle of a name says least, so it gives way to an ellipsis."""
    if width_of(text) <= width:
        return text
    start = end = text
    while width_of(start) > (width - 1) // 2:
        start = start[:-1]
    while width_of(end) > width - 1 - width_of(start):
        end = end[1:]
    return f"{start}…{end}"


def wrap(text: str, width: int, indent: str = "") -> list[str]:
    """`text` in lines of at most `width` where its words allow it; all but the first are indented."""
    found: list[str] = []
    for line in text.split("\n"):
        found += textwrap.wrap(
            line,
            width,
            initial_indent=indent if found else "",
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return found or [""]
