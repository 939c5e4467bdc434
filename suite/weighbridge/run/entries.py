"""What an entry of a store is: files, and `meta.json`, which has their sizes and hashes; the same in a folder and beyond it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from weighbridge.core.files import file_digest
from weighbridge.core.results import FileRecord, to_json

META = "meta.json"


@dataclass(frozen=True)
class Entry:
    """An entry that was found, and whose files are what was written."""

    key: str
    folder: Path
    facts: Mapping[str, Any]
    files: tuple[FileRecord, ...]


@dataclass(frozen=True)
class Meta:
    """What `meta.json` says."""

    created: float
    """Seconds since 1970."""
    facts: Mapping[str, Any]
    files: tuple[FileRecord, ...]
    read: Mapping[str, str]
    """The hash of each file that the user's code read while it was made, and before, by its path in the project."""

    @property
    def nbytes(self) -> int:
        return sum(file.bytes for file in self.files)


def write_meta(key: str, folder: Path, facts: Mapping[str, Any], read: Mapping[str, str]) -> Meta:
    """Describe the files that lie in `folder`, in a `meta.json` beside them; `read` is what was read to make them."""
    files = tuple(
        FileRecord(path.relative_to(folder).as_posix(), path.stat().st_size, file_digest(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
    meta = Meta(time.time(), to_json(facts), files, read)
    text = json.dumps(
        {
            "key": key,
            "created": meta.created,
            "facts": meta.facts,
            "read": meta.read,
            "facts_sha256": _digest([meta.facts, meta.read]),
            "files": to_json(files),
        }
    )
    (folder / META).write_text(text, encoding="utf-8")
    return meta


def read_meta(key: str, text: bytes) -> Meta:
    """Raises `ValueError` for what is no `meta.json` of the entry `key`, or not as it was written: a store may be copied by hand,
    and others may write to one that several machines reach.
    """
    try:
        found = json.loads(text)
        own, facts, read, sha256 = (found[name] for name in ("key", "facts", "read", "facts_sha256"))
        files = tuple(FileRecord(**file) for file in found["files"])
        meta = Meta(float(found["created"]), facts, files, dict(read))
        paths = [PurePosixPath(file.path) for file in meta.files]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("meta.json is no JSON of an entry") from error
    if own != key:
        raise ValueError(f"it is {own}, under another name")
    if _digest([facts, read]) != sha256:
        raise ValueError("meta.json was altered")
    for path in paths:
        if path.is_absolute() or ".." in path.parts or "\\" in str(path):
            raise ValueError(f"the path {path} leads out of it")
    return meta


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
