"""A case of the user's with another recipe, as the text of a file that lies elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weighbridge.case.expand import expand
from weighbridge.case.model import Case
from weighbridge.case.scaffold import moved, step_lines
from weighbridge.case.text import read
from weighbridge.core.flow import flow
from weighbridge.propose.trials import Recipe

Step = Mapping[str, Any]
"""A step as a case file has it: the kind with the method first, then its options."""
_OWN = ("name", "recipe", "candidate", "thresholds", "xfail")
"""What the text says itself. An `xfail` is of the recipe that it was written for."""
_CODE = re.compile(r".+\.py:[^\W\d][\w.]*")


def stated(case: Case) -> Mapping[str, Any]:
    """What the file says of the case, with what it shares with others, and `matrix` filled in."""
    return next(raw.data for raw in expand(read(case.path)) if raw.name == case.name)


def lines_of(recipe: Sequence[Step]) -> Recipe:
    return tuple(tuple(f"{key}: {flow(value)}" for key, value in step.items()) for step in recipe)


def rewritten(
    data: Mapping[str, Any],
    source: Path,
    recipe: Sequence[Step],
    folder: Path,
    engine: str,
    above: Sequence[str] = (),
) -> str:
    """The text of a case in `folder` with `recipe`, which otherwise says what `data` does in the folder `source`.

    Its thresholds are kept above all. `engine` is named where the case names none; `above` are lines of a comment. What
    the recipe names lies where the case does.
    """
    head = {key: value for key, value in data.items() if key not in _OWN and value is not None}
    head.setdefault("engine", engine)
    there = reseated([dict(step) for step in recipe], source, folder)
    lines = [f"# {line}" for line in above]
    lines += [f"{key}: {flow(reseated(value, source, folder, key))}" for key, value in head.items()]
    lines += ["recipe:", *(line for step in lines_of(there) for line in step_lines(step))]
    lines += [
        "thresholds:",
        *(f"  {flow(name)}: {flow(limit)}" for name, limit in data["thresholds"].items()),
    ]
    return "\n".join(lines) + "\n"


def reseated(value: Any, source: Path, target: Path, key: str = "") -> Any:
    """`value` with the files and the code that it names as they are called from `target`; `key` is what it stands under."""
    if isinstance(value, Mapping):
        return {name: reseated(item, source, target, key) for name, item in value.items()}
    if isinstance(value, list):
        return [reseated(item, source, target) for item in value]
    names_file = isinstance(value, str) and (key in ("model", "data") or _CODE.fullmatch(value))
    return moved(value, source, target) if names_file else value
