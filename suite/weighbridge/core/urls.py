"""URLs that hold a password: what is shown or kept of them has none."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(\w://[^/@:\s]*:)\S*@|([?&]password=)[^&\s]*")


def is_url(place: str) -> bool:
    """Whether a place is a database's address and not a file's path."""
    return "://" in place


def without_password(text: str) -> str:
    """`postgresql://ann:***@host/db`."""
    return _PASSWORD.sub(lambda found: f"{found[1]}***@" if found[1] else f"{found[2]}***", text)
