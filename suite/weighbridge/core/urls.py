"""Places that may be addresses. Where one holds a password, what is shown or kept of it has none."""

from __future__ import annotations

import re
from pathlib import Path

_PASSWORD = re.compile(r"(\w://[^/@:\s]*:)\S*@|([?&]password=)[^&\s]*")


def is_url(place: str) -> bool:
    """Whether a place is an address and not a path."""
    return "://" in place


def store_place(stated: str, root: Path, own: str = ".weighbridge") -> tuple[Path, str]:
    """The folder of a store, and the address beyond it, which is empty where a folder of `root` is all that is stated.

    `own` is the folder that holds on this machine what is read from the address.
    """
    return (root / own, stated) if is_url(stated) else (root / stated, "")


def without_password(text: str) -> str:
    """`postgresql://ann:***@host/db`."""
    return _PASSWORD.sub(lambda found: f"{found[1]}***@" if found[1] else f"{found[2]}***", text)
