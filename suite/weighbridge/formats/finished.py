"""A finished file as the artifact: every file that belongs to it, none of them written anew."""

from __future__ import annotations

from pathlib import Path

from weighbridge.contracts import FORMATS, Model
from weighbridge.core.results import Artifact


def finished_file(model: Model, path: Path) -> Artifact | None:
    """The artifact that `model` was read from; None where `path` is no file, since code built the model."""
    if not path.is_file():
        return None
    return Artifact(model.format, path, (path, *FORMATS.get(model.format).companions(path)), model.source)
