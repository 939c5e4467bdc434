"""Matrices over two keys: cases that differ in two values, laid out as those values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weighbridge.report.table import Line

MOST_ACROSS = 8


@dataclass(frozen=True)
class Grid:
    """`cells` by (value down, value across); a combination that was excluded is absent."""

    name: str
    down: Sequence[str]
    across: Sequence[str]
    cells: Mapping[tuple[str, str], Line]


def find_grids(lines: Sequence[Line]) -> list[Grid]:
    """The grids among the lines. `matrix` names a case `NAME-DOWN,ACROSS`; all of one matrix stand at one line."""
    groups: dict[tuple[str, int], list[tuple[str, str, Line]]] = {}
    for line in sorted(lines, key=lambda line: line.index):
        left, comma, right = line.row["name"].rpartition(",")
        if comma and "," not in left:
            groups.setdefault((line.row["path"], line.row["line"]), []).append((left, right, line))
    found = [_grid(group) for group in groups.values()]
    return [grid for grid in found if grid is not None]


def _grid(group: Sequence[tuple[str, str, Line]]) -> Grid | None:
    name = _shared([left for left, _, _ in group])
    down = list(dict.fromkeys(left.removeprefix(name) for left, _, _ in group))
    across = list(dict.fromkeys(right for _, right, _ in group))
    if min(len(down), len(across)) < 2 or len(group) * 2 <= len(down) * len(across):
        return None
    cells = {(left.removeprefix(name), right): line for left, right, line in group}
    if len(across) > MOST_ACROSS > len(down):
        down, across = across, down
        cells = {(right, left): line for (left, right), line in cells.items()}
    shown = group[0][2].name
    title = shown[: len(shown) - len(group[0][2].row["name"])] + name
    return Grid(title.rstrip("-/"), down, across, cells) if len(across) <= MOST_ACROSS else None


def _shared(texts: Sequence[str]) -> str:
    """What all texts start with, up to the last dash before they differ."""
    first, last = min(texts), max(texts)
    same = next((at for at, sign in enumerate(first) if last[at : at + 1] != sign), len(first))
    return first[: first.rfind("-", 0, same) + 1]
