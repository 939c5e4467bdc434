"""What an output's encoding cannot hold, as the nearest of ASCII: tables in a Windows console, or in a log of latin-1."""

from __future__ import annotations

import codecs

NEAREST = "weighbridge.nearest"
"""The name of the error handler, for `str.encode` and for a stream's `errors`."""
_SIGNS = {
    "✓": "v",
    "✗": "x",
    "→": "->",
    "·": ".",
    "…": "...",
    "≥": ">=",
    "≤": "<=",
    "±": "+-",
    "µ": "u",
    "∞": "inf",
    **dict.fromkeys("▁▂▃▄", "_"),
    **dict.fromkeys("▅▆▇█", "#"),
}


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    shown = (_SIGNS.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in signs)
    return "".join(shown), error.end


codecs.register_error(NEAREST, _nearest)


def fitting(text: str, encoding: str | None) -> str:
    """The text with what `encoding` lacks replaced; as it is where the output says none."""
    return text.encode(encoding, NEAREST).decode(encoding) if encoding else text
