"""Which format a file is of, told from its name."""

from __future__ import annotations

from pathlib import Path

from weighbridge.contracts import FORMATS
from weighbridge.core.errors import UsageError, did_you_mean


def formats_by_suffix() -> dict[str, str]:
    """The formats whose file is the whole model, by suffix. A checkpoint that needs code is none of them."""
    return {suffix: format_.name for format_ in FORMATS if format_.whole_file for suffix in format_.suffixes}


def format_of(path: Path) -> str:
    """The format of a file, whatever the case of its suffix, or of a folder that is a model; raises `UsageError` for one that is
    none's.
    """
    if path.is_dir():
        markers = {format_.marker: format_.name for format_ in FORMATS if format_.marker}
        found = next((name for marker, name in markers.items() if (path / marker).is_file()), None)
        if found is None:
            raise UsageError(f"{path}: a folder without {' or '.join(markers)} is no model")
        return found
    known = formats_by_suffix()
    if path.suffix.lower() not in known:
        raise UsageError(f"{path}: unknown kind of file '{path.suffix}'{did_you_mean(path.suffix, known)}")
    return known[path.suffix.lower()]
