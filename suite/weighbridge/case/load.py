"""`load_cases`: a path -> its cases, or one `CaseError` with every fault in it."""

from __future__ import annotations

from pathlib import Path

from weighbridge.case.expand import expand
from weighbridge.case.model import Case
from weighbridge.case.text import read
from weighbridge.case.validate import validate


def load_cases(path: Path) -> list[Case]:
    """Every case of the file at `path`; raises `CaseError`."""
    document = read(path)
    cases = [validate(raw, document) for raw in expand(document)]
    if document.faults:
        raise document.error()
    return [case for case in cases if case is not None]
