"""`load_cases`: a path -> its cases, or one `CaseError` with every fault in it."""

from __future__ import annotations

from pathlib import Path

from weighbridge.case.expand import expand
from weighbridge.case.model import Case
from weighbridge.case.text import read
from weighbridge.case.validate import validate


def load_cases(path: Path, recipe_to_come: bool = False) -> list[Case]:
    """Every case of the file at `path`; raises `CaseError`.

    Where the recipe is still to come, limits may compare with the original although there is no candidate yet.
    """
    document = read(path)
    cases = [validate(raw, document, recipe_to_come) for raw in expand(document)]
    if document.faults:
        raise document.error()
    return [case for case in cases if case is not None]
