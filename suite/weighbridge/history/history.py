"""A history: runs go in, and come out by case, by branch, or by what they are called."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from weighbridge.core.errors import UsageError
from weighbridge.core.past import Past, measurements_from_json, measurements_to_json, past_of
from weighbridge.core.results import to_json
from weighbridge.history.database import Connection, open_database, rows_of

DEFAULT = ".weighbridge/history.sqlite"
OFF = "off"
_JOINED = (
    "SELECT r.node, r.run, k.created, k.revision, k.branch, k.dirty, r.machine, r.status, r.seconds, r.baseline, "
    "r.candidate, r.measurements, r.verdicts FROM weighbridge_rows r JOIN weighbridge_runs k ON k.run = r.run"
)
_SOUND = "r.status NOT IN ('fail', 'error', 'skip')"
"""What a branch is held to be: a run in which the case failed is no mark for the next, or a slip would lower the bar."""
RECENT = 20
SHORTEST = 6
"""Digits of a run or commit by which it may be called."""


@dataclass(frozen=True)
class Run:
    """A run that was kept; `counts` are its cases by status."""

    run: str
    created: str
    commit: str | None
    branch: str | None
    dirty: bool | None
    shard: str | None
    counts: Mapping[str, int]


class History:
    """The runs at `place`, a path or a URL. Nothing is opened before something is asked."""

    def __init__(self, place: str, say: Callable[[str], None] = lambda text: None) -> None:
        self.place = place
        self._database = open_database(place, say)

    def keep(self, report: Mapping[str, Any], parts: Sequence[str] = ()) -> int:
        """Keep a report of schema 2: its rows that measured something, or failed to; gives how many.

        A run that is kept already stays as it is. `parts` are runs that this one joins, and takes the place of. Raises
        `UsageError` with the reason.
        """
        rows = [row for row in report["rows"] if row["measurements"] or row["status"] in ("fail", "error")]
        if not rows or not report["run"]:
            return 0
        pasts = [past_of(report, row) for row in rows]
        with self._database.writing() as run:
            if run("SELECT run FROM weighbridge_runs WHERE run = :run", run=_text(report["run"])):
                return 0
            for part in parts:
                run("DELETE FROM weighbridge_rows WHERE run = :run", run=_text(part))
                run("DELETE FROM weighbridge_runs WHERE run = :run", run=_text(part))
            run(
                "INSERT INTO weighbridge_runs (run, created, revision, branch, dirty, shard, versions) "
                "VALUES (:run, :created, :revision, :branch, :dirty, :shard, :versions)",
                run=_text(report["run"]),
                created=_moment(report["created"]),
                revision=_text(report["commit"]),
                branch=_text(report.get("branch")),
                dirty=None if report.get("dirty") is None else int(report["dirty"]),
                shard=report.get("shard") and f"{report['shard']['index']}/{report['shard']['of']}",
                versions=json.dumps(to_json(report["versions"])),
            )
            for past in pasts:
                _insert(run, past)
        return len(pasts)

    def runs(self, most: int) -> list[Run]:
        """The last `most`, newest first."""
        with self._database.reading() as run:
            if run is None:
                return []
            found = rows_of(
                run,
                "SELECT run, created, revision, branch, dirty, shard FROM weighbridge_runs "
                "ORDER BY created DESC, run LIMIT :most",
                most=most,
            )
            counts: dict[str, dict[str, int]] = {}
            for one, status, count in run(
                "SELECT run, status, COUNT(*) FROM weighbridge_rows WHERE run IN (SELECT run FROM weighbridge_runs "
                "ORDER BY created DESC, run LIMIT :most) GROUP BY run, status",
                most=most,
            ):
                counts.setdefault(one, {})[status] = count
        return [
            Run(
                row["run"],
                row["created"],
                row["revision"],
                row["branch"],
                _flag(row["dirty"]),
                row["shard"],
                counts.get(row["run"], {}),
            )
            for row in found
        ]

    def cases(self) -> list[str]:
        """The node ids of every case that was kept, in their order."""
        with self._database.reading() as run:
            return (
                []
                if run is None
                else [node for (node,) in run("SELECT DISTINCT node FROM weighbridge_rows ORDER BY node")]
            )

    def of_case(self, case: str, most: int, branch: str | None = None) -> list[Past]:
        """The last `most` rows of a case, oldest first; of one branch only, where it is given."""
        where = " WHERE r.node = :node" + (" AND k.branch = :branch" if branch else "")
        sql = f"{_JOINED}{where} ORDER BY k.created DESC, k.run LIMIT :most"
        return self._pasts(sql, node=_text(case), most=most, **({"branch": branch} if branch else {}))[::-1]

    def recent(self, most: int, branch: str | None = None) -> dict[str, list[Past]]:
        """The rows of the last `most` runs, by case, oldest first; of one branch only, where it is given."""
        where = " WHERE branch = :branch" if branch else ""
        last = f"SELECT run FROM weighbridge_runs{where} ORDER BY created DESC, run LIMIT :most"
        sql = f"{_JOINED} WHERE r.run IN ({last}) ORDER BY r.node, k.created, k.run"
        found: dict[str, list[Past]] = {}
        for past in self._pasts(sql, most=most, **({"branch": branch} if branch else {})):
            found.setdefault(past.case, []).append(past)
        return found

    def sound_of_branch(self, case: str, branch: str, machine: str | None = None) -> list[Past]:
        """The last sound rows of a case on a branch, of files as they were committed, newest first; of one class of
        machines only, where it is given."""
        where = f" WHERE r.node = :node AND k.branch = :branch AND COALESCE(k.dirty, 0) = 0 AND {_SOUND}"
        more = {} if machine is None else {"machine": _text(machine)}
        where += "" if machine is None else " AND r.machine = :machine"
        sql = f"{_JOINED}{where} ORDER BY k.created DESC, k.run LIMIT :most"
        return self._pasts(sql, node=_text(case), branch=branch, most=RECENT, **more)

    def has_branch(self, branch: str) -> bool:
        with self._database.reading() as run:
            sql = "SELECT run FROM weighbridge_runs WHERE branch = :branch LIMIT 1"
            return run is not None and bool(run(sql, branch=branch))

    def last_called(self, case: str, name: str) -> Past | None:
        """The last row of a case of the run or commit whose digits begin so."""
        sql = f"{_JOINED} WHERE r.node = :node AND (r.run LIKE :name OR k.revision LIKE :name)"
        sql += " ORDER BY k.created DESC, k.run LIMIT 1"
        return next(iter(self._pasts(sql, node=_text(case), name=f"{name.lower()}%")), None)

    def has_called(self, name: str) -> bool:
        """Whether a run or commit is called so; raises `UsageError` where several runs are of several commits."""
        with self._database.reading() as run:
            if run is None:
                return False
            sql = "SELECT DISTINCT revision FROM weighbridge_runs WHERE run LIKE :name OR revision LIKE :name"
            found = [revision for (revision,) in run(sql, name=f"{name.lower()}%")]
        if len(found) > 1:
            raise UsageError(f"'{name}' is the beginning of {len(found)} commits or runs; give more digits")
        return bool(found)

    def seconds(self, before: str) -> dict[str, float]:
        """How long each case took at most, in the last `RECENT` runs that ended before a time (ISO 8601).

        At most: a run that finds everything in the store says nothing of one that does not.
        """
        with self._database.reading() as run:
            if run is None:
                return {}
            sql = (
                "SELECT node, MAX(seconds) FROM weighbridge_rows WHERE run IN (SELECT run FROM weighbridge_runs "
                "WHERE created < :before ORDER BY created DESC, run LIMIT :most) GROUP BY node"
            )
            found = run(sql, before=_moment(before), most=RECENT)
            return {node: float(seconds) for node, seconds in found}

    def _pasts(self, sql: str, **values: Any) -> list[Past]:
        with self._database.reading() as run:
            return [] if run is None else [_past(row) for row in rows_of(run, sql, **values)]


def called(name: str) -> bool:
    """Whether a name can be that of a run or commit: hexadecimal digits, `SHORTEST` at least."""
    return len(name) >= SHORTEST and all(digit in "0123456789abcdefABCDEF" for digit in name)


def _insert(run: Connection, past: Past) -> None:
    run(
        "INSERT INTO weighbridge_rows (run, node, machine, status, seconds, baseline, candidate, measurements, verdicts) "
        "VALUES (:run, :node, :machine, :status, :seconds, :baseline, :candidate, :measurements, :verdicts)",
        run=_text(past.run),
        node=_text(past.case),
        machine=_text(past.machine),
        status=past.status,
        seconds=past.seconds,
        baseline=past.baseline,
        candidate=past.candidate,
        measurements=_dump(measurements_to_json(past.measurements)),
        verdicts=_dump(to_json(past.verdicts)),
    )


def _past(row: Mapping[str, Any]) -> Past:
    return Past(
        row["node"],
        row["run"],
        row["created"],
        row["revision"],
        row["branch"],
        _flag(row["dirty"]),
        row["machine"],
        row["status"],
        float(row["seconds"]),
        row["baseline"],
        row["candidate"],
        measurements_from_json(json.loads(row["measurements"])),
        tuple(json.loads(row["verdicts"])),
    )


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _text(value: str | None) -> str | None:
    """What every database takes: neither lone surrogates, as in a path that is no UTF-8, nor zeros."""
    return value and value.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _moment(created: str) -> str:
    """In UTC, so that times sort as texts; raises `UsageError` for what is no time."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        raise UsageError(f"'{created[:40]}' is no time, so the run cannot be kept in its order") from None
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).isoformat(timespec="milliseconds")
