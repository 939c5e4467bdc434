"""A finished file as the artifact: every file that belongs to it, none of them written anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weighbridge.contracts import FORMATS, Model
from weighbridge.core.errors import StageError, WeighbridgeError, first_line
from weighbridge.core.results import Artifact


def finished_file(model: Model, path: Path) -> Artifact | None:
    """The artifact that `model` was read from; None where `path` is no file, since code built the model."""
    if not path.is_file():
        return None
    return Artifact(model.format, path, (path, *FORMATS.get(model.format).companions(path)), model.source)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Inside, whatever a reader raises on a stranger's bytes is a `StageError` that names the file."""
    try:
        yield
    except WeighbridgeError:
        raise
    except Exception as error:
        kind = type(error).__name__
        said = first_line(error)
        why = said if said == kind else f"{kind}: {said}"
        raise StageError("load", f"{name} is damaged: {why}") from error


def read_through(artifact: Artifact, model: Model) -> None:
    """Every weight and operator of a finished file, once; raises `StageError` where the file is damaged.

    A weight that is whole and cannot be counted is told by what counts it.
    """
    format_ = FORMATS.get(artifact.format)
    try:
        with reading(artifact.path.name):
            format_.operators(model)
            for _ in format_.tensors(model):
                pass
    except StageError as error:
        if error.stage == "load":
            raise
