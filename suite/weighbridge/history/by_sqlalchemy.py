"""A team's database behind a URL, such as PostgreSQL. SQLAlchemy opens it; the tables and the SQL are the file's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from weighbridge.contracts import Requirement
from weighbridge.core.errors import UsageError
from weighbridge.core.urls import without_password
from weighbridge.environment.requirements import missing
from weighbridge.history.database import TABLES, Connection, check_version

_INSTALL = "pip install 'weighbridge[history]'"
_LOCK = 7_461_083
"""Names the lock that writers take in turn: two first runs would make the tables at once."""


class Server:
    """Raises `UsageError` where SQLAlchemy, or the driver that the URL asks for, is not installed."""

    def __init__(self, url: str) -> None:
        self._shown = without_password(url)
        absent = missing(Requirement("package", "sqlalchemy", _INSTALL, "2.0"))
        if absent is not None:
            raise UsageError(f"a history at a URL ({self._shown}) needs a package: {absent}")
        import sqlalchemy

        # Without a driver's name SQLAlchemy would take psycopg2, which the extra does not bring.
        whole = url.replace("postgresql://", "postgresql+psycopg://", 1)
        try:
            self._engine = sqlalchemy.create_engine(whole, poolclass=sqlalchemy.pool.NullPool)
        except ImportError as error:
            raise UsageError(f"{self._shown} needs a driver: {error}; {_INSTALL} has PostgreSQL's") from error
        except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError) as error:
            raise UsageError(f"{self._shown} is no database's URL: {without_password(str(error))}") from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection | None]:
        with self._connected() as run:
            if not self._has_tables():
                yield None
                return
            check_version(run, self._shown, make=False)
            yield run

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._connected() as run:
            if self._engine.dialect.name == "postgresql":
                run("SELECT pg_advisory_xact_lock(:lock)", lock=_LOCK)
            if not self._has_tables():  # whoever may write need not be allowed to make tables
                for statement in TABLES:
                    run(statement)
            check_version(run, self._shown, make=True)
            yield run

    def _has_tables(self) -> bool:
        import sqlalchemy

        return bool(sqlalchemy.inspect(self._engine).has_table("weighbridge_schema"))

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Connection]:
        """One transaction, committed where nothing is raised."""
        import sqlalchemy

        try:
            with self._engine.begin() as connection:

                def run(sql: str, /, **values: Any) -> Sequence[Sequence[Any]]:
                    done = connection.execute(sqlalchemy.text(sql), values)
                    return [tuple(row) for row in done] if done.returns_rows else []

                yield run
        except sqlalchemy.exc.SQLAlchemyError as error:
            why = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise UsageError(f"the history {self._shown}: {without_password(why)}") from error
