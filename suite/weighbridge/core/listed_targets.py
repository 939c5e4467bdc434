"""A batch whose targets are a list of mappings, one a sample, as loaders of detection give them: `collate_fn=lambda batch:
tuple(zip(*batch))` in torchvision's examples, `labels` of a list of mappings in those of Hugging Face.

Their boxes are as many as each picture has, so that they are samples, not a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weighbridge.core.errors import StageError


def are_listed(targets: Any) -> bool:
    return (
        isinstance(targets, tuple | list)
        and bool(targets)
        and all(isinstance(each, Mapping) for each in targets)
    )


def apart(inputs: Any, targets: Any, groups: Any, split: str) -> list[tuple[Any, ...]]:
    """Each sample's own inputs, targets and group; raises `StageError` where they are not as many."""
    n = len(targets)
    if isinstance(inputs, Mapping):
        columns = {str(name): _rows(part, n, f"input '{name}'", split) for name, part in inputs.items()}
        samples: Any = [{name: column[at] for name, column in columns.items()} for at in range(n)]
    elif isinstance(inputs, tuple | list) and len(inputs) != n:
        parts = [_rows(part, n, f"input {index}", split) for index, part in enumerate(inputs)]
        samples = list(zip(*parts, strict=True))
    else:
        samples = _rows(inputs, n, "input 0", split)
    groups = [None] * n if groups is None else _rows(groups, n, "the groups", split)
    return [(samples[at], targets[at], groups[at]) for at in range(n)]


def _rows(part: Any, n: int, what: str, split: str) -> Any:
    try:
        length = len(part)
    except TypeError:
        length = 1
    if length != n:
        raise StageError(
            "data",
            f"split '{split}': the targets are a list of {n} mappings, one a sample, and {what} has {length} in a row",
        )
    return part
