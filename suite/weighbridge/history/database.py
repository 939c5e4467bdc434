"""Where runs are kept: an SQLite file, by the standard library, or a team's database behind a URL, by SQLAlchemy.

Both are given the same SQL. An SQLite file has write-ahead logging: a run is in it whole or not at all, whoever is killed
when, and readers wait for nobody.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from weighbridge.core.errors import UsageError
from weighbridge.core.urls import is_url, without_password

VERSION = 1
"""Of the tables. A newer Weighbridge may have others, which this one leaves alone."""
TABLES = (
    "CREATE TABLE IF NOT EXISTS weighbridge_schema (version INTEGER NOT NULL)",
    """CREATE TABLE IF NOT EXISTS weighbridge_runs (
        run TEXT PRIMARY KEY, created TEXT NOT NULL, revision TEXT, branch TEXT, dirty INTEGER,
        shard TEXT, versions TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS weighbridge_rows (
        run TEXT NOT NULL REFERENCES weighbridge_runs (run), node TEXT NOT NULL, machine TEXT NOT NULL,
        status TEXT NOT NULL, seconds DOUBLE PRECISION NOT NULL, baseline TEXT NOT NULL,
        candidate TEXT NOT NULL, measurements TEXT NOT NULL, verdicts TEXT NOT NULL, PRIMARY KEY (run, node))""",
    "CREATE INDEX IF NOT EXISTS weighbridge_rows_by_node ON weighbridge_rows (node)",
    "CREATE INDEX IF NOT EXISTS weighbridge_runs_by_time ON weighbridge_runs (created)",
)
PATIENCE_S = 60.0
"""Seconds that a run waits for others to write theirs."""
_DAMAGED = ("malformed", "not a database", "disk image", "corrupt")
_HEADER = b"SQLite format 3\0"


class Damaged(Exception):
    """The file cannot be read as what it should be."""


class Connection(Protocol):
    """Takes SQL with `:name` parameters; gives the rows, if any."""

    def __call__(self, sql: str, /, **values: Any) -> Sequence[Sequence[Any]]: ...


class Database(Protocol):
    """Tables that several processes write and read."""

    def reading(self) -> contextlib.AbstractContextManager[Connection | None]:
        """A connection for reading; None where nothing was kept yet. Raises `UsageError`."""
        ...

    def writing(self) -> contextlib.AbstractContextManager[Connection]:
        """A connection in one transaction, with the tables made. Raises `UsageError`."""
        ...


def open_database(place: str, say: Any = lambda text: None) -> Database:
    """The database at a path or URL. `say` is told what was set aside.

    Raises `UsageError` for `off`, and for a URL of no use here.
    """
    if place == "off":
        raise UsageError("a history that is off has no runs; name a file or a database's URL with --history")
    if not is_url(place):
        return SqliteFile(Path(place), say)
    from weighbridge.history.by_sqlalchemy import Server

    return Server(place)


def check_version(run: Connection, place: str, make: bool) -> None:
    """Raises `UsageError` for tables of another version; with `make`, tables that are new are given this one's."""
    found = [version for (version,) in run("SELECT version FROM weighbridge_schema")]
    if not found and make:
        run("INSERT INTO weighbridge_schema (version) VALUES (:version)", version=VERSION)
    elif found and max(found) > VERSION:
        raise UsageError(
            f"{without_password(place)} is a history of schema {max(found)}, and this version of Weighbridge knows "
            f"{VERSION}: update it with `pip install -U weighbridge`, or keep this one's runs elsewhere with --history"
        )


class SqliteFile:
    """One file. What is damaged is set aside when the next run is kept, so that no run is lost for it."""

    def __init__(self, path: Path, say: Any = lambda text: None) -> None:
        self.path = path
        self._say = say

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection | None]:
        if not self.path.exists():
            yield None
            return
        self._check_own()
        try:
            with self._connected() as run:
                if not self._has_tables(run):
                    yield None
                    return
                check_version(run, str(self.path), make=False)
                yield run
        except Damaged as damage:
            raise UsageError(
                f"the history {self.path} is damaged ({damage}); the next run sets it aside and begins a new one"
            ) from damage

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock", timeout=PATIENCE_S):
                self._set_aside_if_damaged()
                with self._connected() as run:
                    run("PRAGMA journal_mode = WAL")
                    run("BEGIN IMMEDIATE")
                    for statement in TABLES:
                        run(statement)
                    check_version(run, str(self.path), make=True)
                    yield run
                    run("COMMIT")
        except (Damaged, Timeout, OSError) as error:
            raise UsageError(f"the history {self.path} cannot be written: {error}") from error

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            connection = sqlite3.connect(self.path, timeout=PATIENCE_S, isolation_level=None)
        except sqlite3.Error as error:
            raise UsageError(f"the history {self.path} cannot be opened: {error}") from error

        def run(sql: str, /, **values: Any) -> Sequence[Sequence[Any]]:
            try:
                return connection.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                if any(word in str(error) for word in _DAMAGED):
                    raise Damaged(str(error)) from error
                raise UsageError(f"the history {self.path}: {error}") from error

        with contextlib.closing(connection):  # what was begun and not committed is gone with it
            yield run

    def _has_tables(self, run: Connection) -> bool:
        """False of a file in which nothing is yet. Raises `UsageError` where it is another program's."""
        names = [name for (name,) in run("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if names and "weighbridge_schema" not in names:
            raise UsageError(f"{self.path} is another program's database (it has a table {names[0]})")
        return bool(names)

    def _check_own(self) -> None:
        """Raises `UsageError` for a file that does not begin as SQLite's do: another's, by a slip of the hand, not damage.

        One that ends before its beginning does holds nothing, and is what a full disk may leave.
        """
        try:
            with self.path.open("rb") as file:
                begins = file.read(len(_HEADER))
        except OSError as error:
            raise UsageError(f"the history {self.path} cannot be read: {error.strerror or error}") from error
        if not _HEADER.startswith(begins):
            raise UsageError(
                f"{self.path} is no SQLite file, and is left as it is: move it away, or keep runs elsewhere with --history"
            )

    def _set_aside_if_damaged(self) -> None:
        """The caller holds the lock, so that nobody sets aside what another has just begun anew."""
        if not self.path.exists():
            return
        self._check_own()
        try:
            with self._connected() as run:
                (found, *_), *_ = run("PRAGMA quick_check(1)")
                if found != "ok":
                    raise Damaged(found)
                self._has_tables(run)
        except Damaged as damage:
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    self.path.with_name(self.path.name + suffix).replace(f"{aside}{suffix}")
            self._say(
                f"the history {self.path} was damaged ({damage}): it is now {aside.name}, and a new one begins"
            )


def rows_of(run: Connection, sql: str, **values: Any) -> list[Mapping[str, Any]]:
    """The rows of a SELECT whose columns are named in `sql` before FROM, without expressions."""
    columns = sql.partition("SELECT ")[2].partition(" FROM ")[0]
    names = [name.strip().rpartition(".")[2] for name in columns.split(",")]
    return [dict(zip(names, row, strict=True)) for row in run(sql, **values)]
