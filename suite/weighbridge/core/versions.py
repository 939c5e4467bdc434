"""The version of an installed package, by the name under which it is imported."""

from __future__ import annotations

import sys
from functools import cache
from importlib import metadata
from importlib.util import find_spec


@cache
def version_of(package: str) -> str:
    """Of an installed package, by the name under which it is imported; empty where that is unknown.

    What it says of itself once it is imported comes last: openvino and torch_pruning say something else than their
    installation does, and a key must be the same before and after.
    """
    known = getattr(sys.modules.get(package), "__version__", None)
    own = known if isinstance(known, str) else ""
    return _version_by_name(package) or _version_by_content(package) or own


def _version_by_name(package: str) -> str:
    """Of the distribution that is called as the package; empty without one, or where its metadata is lost."""
    try:
        return metadata.version(package) or ""
    except (
        metadata.PackageNotFoundError,
        FileNotFoundError,
    ):  # the second is of the backport, `importlib_metadata`
        return ""


def _version_by_content(package: str) -> str:
    """Of the distribution that lists `package`, as scikit-learn lists `sklearn`.

    `metadata.packages_distributions` parses every list of files, which takes a third of a second.
    """
    if package not in sys.modules and find_spec(package) is None:
        return ""
    for distribution in metadata.distributions():
        record = "\n" + (distribution.read_text("RECORD") or "")
        named = package in (distribution.read_text("top_level.txt") or "").split()
        if named or f"\n{package}/" in record or f"\n{package}.py," in record:
            return distribution.version
    return ""
