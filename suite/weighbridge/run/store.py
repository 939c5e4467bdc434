"""What was made once: results and artifacts by the hash of everything they depend on.

An entry is a folder `KEY/`, as `entries.py` has it. It is written aside and renamed, so that it is there whole or not at all.
Several processes share a store; a lock a key lets one of them make what the others wait for. An entry that is not what was
written, or not under its own name, is said to be damaged, and made again. What lies beyond the folder, at an address that
several machines reach, is read into it and written as it is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from weighbridge.core.errors import UsageError, first_line
from weighbridge.core.files import file_digest
from weighbridge.core.unfinished import clear_abandoned, unfinished
from weighbridge.run.entries import META, Entry, Meta, read_meta, write_meta
from weighbridge.run.object_store import ObjectStore
from weighbridge.run.reads import Reads

SIZE_LIMIT = 10e9
"""Bytes that a store may hold unless the project says otherwise."""
IN_USE_S = 3600
"""An entry that was used this lately is not evicted: somebody may still be reading it."""

GIVEN_UP_S = 7 * 24 * 3600
"""What a killed process left is kept for so long."""


class Store:
    """Entries under `folder`, and at the address `beyond` it where one is given.

    `before`: entries older than this time (seconds since 1970) are made anew. Raises `UsageError` for an address that can be
    none. `reads` is what the case has read, whose results are kept and found here; without it, nobody's.
    """

    def __init__(
        self,
        folder: Path,
        say: Callable[[str], None] = lambda text: None,
        before: float = 0.0,
        beyond: str = "",
        reads: Reads | None = None,
    ) -> None:
        self.folder = folder
        self._beyond = ObjectStore(beyond) if beyond else None
        self.compiled = folder.absolute() / "inductor"
        """What torch's compiler keeps: it looks after that by itself, and only its size is our affair."""
        self._say = say
        self._before = before
        self._reads = reads
        self._kept: set[str] = set()
        self._verified: set[tuple[str, int, int]] = set()
        try:
            for part in ("store", "making", "locks", "progress"):
                (folder / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the folder {folder}, where results are kept, cannot be written: {error.strerror}; name another, "
                "`-o weighbridge_store=FOLDER`, as `-o weighbridge_reports=FOLDER` for the reports"
            ) from error
        ignore = folder / ".gitignore"
        if not ignore.exists():
            with contextlib.suppress(OSError):
                ignore.write_text("*\n")
        clear_abandoned(folder / "making")

    def find(self, key: str) -> Entry | None:
        """The entry called `key`, once its files are found to be as they were written."""
        return self._own(key) or (self._own(key) if self._fetch(key) else None)

    def _own(self, key: str) -> Entry | None:
        """That in the folder."""
        folder = self._place(key)
        try:
            meta = self._meta(key, folder)
            if meta.created < self._before or not self._serves(key, meta):
                return None
            self._verify(folder, meta)
        except FileNotFoundError:
            if folder.exists():
                self._discard(folder, "it is incomplete")
            return None
        except ValueError as error:
            self._discard(folder, str(error))
            return None
        with contextlib.suppress(OSError):
            os.utime(folder / META)  # eviction goes by the time of the last use
        return Entry(key, folder, meta.facts, meta.files)

    def keep(
        self,
        key: str,
        facts: Mapping[str, Any],
        write: Callable[[Path], None] = lambda folder: None,
    ) -> Entry:
        """Make the entry `key`: `write` puts its files into a folder, and may still add to `facts`.

        Another process may have made it in the meantime, and be reading it: files that are the same stay where they are.
        Raises `OSError` on a full disk.
        """
        making = self._aside()
        making.mkdir()
        try:
            write(making)
            meta = write_meta(key, making, facts, self._reads.now() if self._reads else {})
            self._kept.add(key)
            self._offer(key, making)
            self._move(key, making)
            return Entry(key, self._place(key), meta.facts, meta.files)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    @contextlib.contextmanager
    def making(self, key: str) -> Iterator[None]:
        """Inside, no other process makes the entry `key`."""
        path = self.folder / "locks" / key
        with FileLock(path):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def workdir(self) -> Iterator[Path]:
        """A folder for what is needed only for a while, made by the first who needs it; cleared by a later run where this
        process is killed."""
        folder = self._aside()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def progress(self, key: str) -> Iterator[Path]:
        """A folder for what a killed process leaves to the next that makes `key`, inside `making`; it may not be there yet.

        What was made, and what failed by itself and would again, leaves nothing.
        """
        folder = self.folder / "progress" / key
        with contextlib.suppress(FileNotFoundError):
            if folder.stat().st_mtime < self._before:
                self._remove(folder)
        try:
            yield folder
        except Exception:
            self._remove(folder)
            raise
        self._remove(folder)

    def entries(self) -> Iterator[tuple[str, int, float]]:
        """Key, bytes and time of the last use, of every entry."""
        for folder in sorted((self.folder / "store").iterdir()):
            with contextlib.suppress(OSError):
                yield folder.name, _bytes_under(folder), (folder / META).stat().st_mtime

    def prune(self, limit: float = SIZE_LIMIT) -> tuple[int, int]:
        """Remove what was not used for longest until `limit` bytes are left; gives how many entries went, and the
        bytes that were freed.

        What torch compiled goes first, all of it: making it again takes a compiler, and no training. What a killed process left
        and nobody went on with for `GIVEN_UP_S` goes too.
        """
        for folder in (self.folder / "progress").iterdir():
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > GIVEN_UP_S:
                    self._remove(folder)
        entries = sorted(self.entries(), key=lambda entry: entry[2])
        compiled, count = self.compiled_bytes(), 0
        left = total = sum(size for _, size, _ in entries) + compiled
        if left > limit:
            shutil.rmtree(self.compiled, ignore_errors=True)
            left -= compiled
        for key, size, used in entries:
            if left <= limit or time.time() - used < IN_USE_S:
                break
            self._remove(self._place(key))
            count, left = count + 1, left - size
        return count, total - left

    def verify(self) -> list[str]:
        """Look at every file of every entry; damaged entries are removed, and named with the reason."""
        damaged: list[str] = []
        told, self._say = self._say, damaged.append
        self._verified.clear()
        try:
            for key, _, _ in list(self.entries()):
                self.find(key)
        finally:
            self._say = told
        return damaged

    def clear(self) -> int:
        """Remove every entry and what killed processes left; gives the number of entries."""
        for folder in (self.folder / "progress").iterdir():
            self._remove(folder)
        keys = [key for key, _, _ in self.entries()]
        for key in keys:
            self._remove(self._place(key))
        shutil.rmtree(self.compiled, ignore_errors=True)
        return len(keys)

    def compiled_bytes(self) -> int:
        return _bytes_under(self.compiled)

    def _fetch(self, key: str) -> bool:
        """Whether the entry lies in the folder now, after it was looked for beyond."""
        if self._beyond is None:
            return False
        aside = self._aside()
        try:
            if not self._beyond.fetch(key, aside, self._before):
                return False
            self._move(key, aside)
            return True
        except ValueError as error:
            self._say(
                f"the stored entry {key} in {self._beyond.address} is damaged ({error}); it is made again"
            )
        except Exception as error:
            self._do_without(error)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return False

    def _offer(self, key: str, folder: Path) -> None:
        """Write the entry in `folder` to the address too."""
        if self._beyond is not None:
            try:
                self._beyond.put(key, folder)
            except Exception as error:
                self._do_without(error)

    def _do_without(self, error: Exception) -> None:
        """What several machines keep is a matter of time, and costs no case its result."""
        assert self._beyond is not None
        why = f"{type(error).__name__}: {first_line(error)}"
        self._say(f"the store {self._beyond.address} does not answer ({why}); this case does without it")
        self._beyond = None

    def _move(self, key: str, making: Path) -> None:
        """The entry in `making` to its place."""
        place = self._place(key)
        made = self._meta(key, making)
        with contextlib.suppress(OSError, ValueError):  # there is none, or a damaged one
            there = self._meta(key, place)
            self._verify(place, there)
            if there.files == made.files:
                (making / META).replace(place / META)
                return
        if place.exists():
            self._remove(place)
        with contextlib.suppress(OSError):  # another process was faster; its entry is as good
            making.rename(place)

    def _serves(self, key: str, meta: Meta) -> bool:
        """Whether an entry was made here, or with the files that are there now."""
        return self._reads is None or key in self._kept or self._reads.are_as_now(meta.read)

    def _place(self, key: str) -> Path:
        return self.folder / "store" / key

    def _aside(self) -> Path:
        """A new name outside of the entries."""
        return unfinished(self.folder / "making")

    def _meta(self, key: str, folder: Path) -> Meta:
        return read_meta(key, (folder / META).read_bytes())

    def _verify(self, folder: Path, meta: Meta) -> None:
        """Raise `ValueError` for a file that is not as it was written; each is read once a process."""
        for file in meta.files:
            path = folder / file.path
            stat = path.stat()
            seen = (str(path), stat.st_mtime_ns, stat.st_size)
            if seen in self._verified:
                continue
            if stat.st_size != file.bytes or file_digest(path) != file.sha256:
                raise ValueError(f"{file.path} is not what was written")
            self._verified.add(seen)

    def _discard(self, folder: Path, why: str) -> None:
        self._say(f"the stored entry {folder.name} is damaged ({why}); it is made again")
        self._remove(folder)

    def _remove(self, folder: Path) -> None:
        """By renaming first, so that nobody finds half of it."""
        aside = self._aside()
        with contextlib.suppress(OSError):
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _bytes_under(folder: Path) -> int:
    """Of all files in it; those that another process removes meanwhile, folders too, are not counted."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(parent, name).stat().st_size
    return total
