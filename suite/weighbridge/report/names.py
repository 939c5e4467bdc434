"""Short names of cases: what tells them apart, without the folders that all share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any


def short_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """`cases/digits/cnn.yaml::int8` as `digits/cnn/int8`, or `digits/int8` where the folder has no other file.

    A name that two cases would share stays the case's whole node id.
    """
    files = {row["path"]: PurePosixPath(row["path"].replace("\\", "/")) for row in rows}
    folders = [file.parent.parts for file in files.values()]
    shared = 0
    while folders and all(len(parts) > shared and parts[shared] == folders[0][shared] for parts in folders):
        shared += 1
    in_folder = Counter(file.parent for file in files.values())
    names = [_short(row["name"], files[row["path"]], shared, in_folder) for row in rows]
    count = Counter(names)
    return [name if count[name] == 1 else row["case"] for name, row in zip(names, rows, strict=True)]


def rows_of_nodes(cases: Sequence[str]) -> list[dict[str, str]]:
    """What names a row, of node ids alone."""
    return [
        {"case": case, "path": case.partition("::")[0], "name": case.rpartition("::")[2]} for case in cases
    ]


def _short(name: str, file: PurePosixPath, shared: int, in_folder: Mapping[PurePosixPath, int]) -> str:
    folder = file.parent.parts[shared:]
    stem = (file.stem,) if in_folder[file.parent] > 1 and file.stem != name else ()
    return "/".join([*folder, *stem, name])
