"""What was made once, at an address that many machines reach: S3 and whatever else fsspec knows.

A file is called by its hash, `files/SHA256`, an entry `entries/KEY.json`; it is the `meta.json` of a store's entry, and is
written when its files are there. So an entry is there whole or not at all, with no lock and no renaming, which such stores
do not have, and an entry that is made again takes nothing from under its readers.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from weighbridge.core.errors import UsageError, first_line
from weighbridge.core.urls import without_password
from weighbridge.environment.extras import S3FS, load
from weighbridge.run.entries import META, Meta, read_meta

IN_USE_S = 3600
"""What was written this lately is not removed: its entry may be on its way, or somebody may be reading it."""
_READ_AT_ONCE = 1000
_MARK, _LAYOUT = "weighbridge-store", b"1"
"""The file by which such a store is told, and what is in it."""


class ObjectStore:
    """Entries at `address`, such as `s3://bucket/prefix`.

    Raises `UsageError` for what is no such address, `Unavailable` without the package that reads it.
    """

    def __init__(self, address: str) -> None:
        from fsspec.core import url_to_fs

        self.address = without_password(address)
        if address.startswith("s3://"):
            load(S3FS)
        try:
            self._files, root = url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise UsageError(f"the store {self.address}: {first_line(error)}") from error
        if self._files.protocol == ("file", "local"):
            raise UsageError(f"the store {self.address}: a folder is named by its path, without file://")
        self._root = root.rstrip("/")

    def begin(self) -> None:
        """Make it where there is none yet; raises `UsageError` where it cannot be reached."""
        mark = f"{self._root}/{_MARK}"
        try:
            try:
                found = self._files.cat_file(mark)
            except FileNotFoundError:
                found = _LAYOUT
                self._files.pipe_file(mark, found)
        except Exception as error:  # every file system has its own
            why = f"{type(error).__name__}: {first_line(error)}"
            raise UsageError(f"the store {self.address} cannot be reached: {why}") from error
        if found != _LAYOUT:
            raise UsageError(
                f"the store {self.address} is laid out by another version of Weighbridge; name another prefix"
            )

    def fetch(self, key: str, folder: Path, before: float) -> bool:
        """Put the entry into `folder`, which is made; False where there is none, or only one older than `before`.

        Raises `ValueError` for an entry that is damaged, and whatever the file system does where it does not answer. Whether
        the files are what was written is for the caller to see.
        """
        try:
            text = self._files.cat_file(self._entry(key))
        except FileNotFoundError:
            return False
        meta = read_meta(key, text)
        if meta.created < before:
            return False
        folder.mkdir()
        for file in meta.files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._files.get_file(self._file(file.sha256), str(target))
            except FileNotFoundError as error:
                raise ValueError(f"{file.path} is gone") from error
        (folder / META).write_bytes(text)
        return True

    def put(self, key: str, folder: Path) -> None:
        """Write the entry that lies in `folder`; raises whatever the file system does."""
        text = (folder / META).read_bytes()
        for file in read_meta(key, text).files:
            self._files.put_file(str(folder / file.path), self._file(file.sha256))
        self._files.pipe_file(self._entry(key), text)

    def entries(self) -> Iterator[tuple[str, int, float]]:
        """Key, bytes and time of making, of every entry that can be read."""
        yield from _listed(dict(self._metas()))

    def prune(self, limit: float) -> tuple[int, int]:
        """Remove what was made first until `limit` bytes are left, and files of no entry; gives entries and bytes removed.

        When something was read last is not known here.
        """
        metas = dict(self._metas())
        listed = sorted(_listed(metas), key=lambda entry: entry[2])
        total, count, freed = sum(size for _, size, _ in listed), 0, 0
        for key, size, made in listed:
            if total - freed <= limit or time.time() - made < IN_USE_S:
                break
            self._files.rm_file(self._entry(key))
            del metas[key]
            count, freed = count + 1, freed + size
        used = {file.sha256 for meta in metas.values() if isinstance(meta, Meta) for file in meta.files}
        for name in self._names("files"):
            path = self._file(name)
            if name not in used and time.time() - self._files.modified(path).timestamp() > IN_USE_S:
                self._files.rm_file(path)
        return count, freed

    def verify(self) -> list[str]:
        """Read every file of every entry; damaged entries are removed, and named with the reason."""
        damaged = []
        for key, meta in self._metas():
            why = self._damage(meta) if isinstance(meta, Meta) else str(meta)
            if why:
                damaged.append(f"the stored entry {key} is damaged ({why}); it is made again")
                self._files.rm_file(self._entry(key))
        return damaged

    def clear(self) -> int:
        """Remove everything; gives the number of entries."""
        count = len(self._names("entries"))
        for part in ("entries", "files"):
            if self._names(part):
                self._files.rm(f"{self._root}/{part}", recursive=True)
        return count

    def _entry(self, key: str) -> str:
        return f"{self._root}/entries/{key}.json"

    def _file(self, sha256: str) -> str:
        return f"{self._root}/files/{sha256}"

    def _names(self, part: str) -> list[str]:
        self._files.invalidate_cache()
        try:
            found = self._files.ls(f"{self._root}/{part}", detail=False)
        except FileNotFoundError:
            return []
        return sorted(PurePosixPath(path).name for path in found)

    def _metas(self) -> Iterator[tuple[str, Meta | ValueError]]:
        """Key and content of every entry, or why it cannot be read."""
        keys = [name.removesuffix(".json") for name in self._names("entries")]
        for start in range(0, len(keys), _READ_AT_ONCE):
            some = {self._entry(key): key for key in keys[start : start + _READ_AT_ONCE]}
            texts = self._files.cat(list(some), on_error="omit")
            for path, text in texts.items():
                yield some[path], _read(some[path], text)

    def _damage(self, meta: Meta) -> str:
        for file in meta.files:
            try:
                with self._files.open(self._file(file.sha256), "rb") as stream:
                    sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            except FileNotFoundError:
                return f"{file.path} is gone"
            if sha256 != file.sha256:
                return f"{file.path} is not what was written"
        return ""


def _listed(metas: Mapping[str, Meta | ValueError]) -> Iterator[tuple[str, int, float]]:
    for key, meta in metas.items():
        if isinstance(meta, Meta):
            yield key, meta.nbytes, meta.created


def _read(key: str, text: bytes) -> Meta | ValueError:
    try:
        return read_meta(key, text)
    except ValueError as error:
        return error
