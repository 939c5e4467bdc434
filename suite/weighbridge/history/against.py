"""What a run is compared with, as it is named: a branch, a run or commit by its first digits, or a report file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from weighbridge.core.errors import UsageError
from weighbridge.core.past import Past, Reference, past_of
from weighbridge.core.urls import without_password
from weighbridge.history.history import SHORTEST, History, called
from weighbridge.measure.clocked import reads_clock
from weighbridge.report.reading import read_report
from weighbridge.run.job import SHOWN


class References:
    """Finds them. `place` is the history's, empty without one; files are relative to `root`.

    `instead` takes the place of whatever a case names, and is what every row is compared with. Raises `UsageError` for a
    file that is no report.
    """

    def __init__(self, place: str, root: Path, machine: str, instead: str = "") -> None:
        self._history = History(place) if place else None
        self._root, self._machine, self._instead = root, machine, instead
        self._reports: dict[str, Mapping[str, Any]] = {}
        if _is_file(instead):
            self._report(instead)  # before this run's own report takes its place

    def of(self, case: str, names: Iterable[str]) -> dict[str, Reference]:
        """By the names that the limits of a case state; under `SHOWN` the one for the row, if there is any."""
        listed = list(names)
        if self._instead:
            reference = self._find(case, self._instead)
            return dict.fromkeys((SHOWN, *listed), reference)
        found = {name: self._find(case, name) for name in listed}
        return {SHOWN: found[listed[0]], **found} if listed else {}

    def _find(self, case: str, name: str) -> Reference:
        try:
            return self._in_file(case, name) if _is_file(name) else self._in_history(case, name)
        except UsageError as error:
            return Reference(name, None, str(error), None, str(error))

    def _in_file(self, case: str, name: str) -> Reference:
        report = self._report(name)
        row = next((row for row in report["rows"] if row["case"] == case), None)
        if row is None:
            raise UsageError("the report has no such case")
        return self._one(name, past_of(report, row))

    def _in_history(self, case: str, name: str) -> Reference:
        if self._history is None:
            raise UsageError("no history is kept: --history is off")
        if self._history.has_branch(name):
            found = self._history.sound_of_branch(case, name)
            if not found:
                raise UsageError(
                    "no run of the branch has this case without a failure, and of files as they were committed"
                )
            alike = self._history.sound_of_branch(case, name, self._machine) if self._machine else []
            timed = next((one for one in alike if _has_times(one)), None)
            return Reference(name, found[0], "", timed, "" if timed else self._no_time(found[0]))
        if called(name) and self._history.has_called(name):
            past = self._history.last_called(case, name)
            if past is None:
                raise UsageError("the run has no such case")
            return self._one(name, past)
        place = without_password(self._history.place)
        raise UsageError(
            f"no run of a branch '{name}' is kept in {place}, nor one that is called so (by {SHORTEST} digits or more of "
            "its run or commit)"
        )

    def _one(self, name: str, past: Past) -> Reference:
        """A single run: its times count where they were taken on a machine like this one."""
        alike = past.machine == self._machine != ""
        return Reference(name, past, "", past if alike else None, "" if alike else self._no_time(past))

    def _no_time(self, past: Past) -> str:
        return (
            f"speeds are compared on machines of one class only, this one is '{self._machine}', and no time of it is kept "
            f"there ({past.shown} was on '{past.machine}')"
        )

    def _report(self, name: str) -> Mapping[str, Any]:
        if name not in self._reports:
            self._reports[name] = read_report(self._root / name)
        return self._reports[name]


def _is_file(name: str) -> bool:
    return name.endswith(".json")


def _has_times(past: Past) -> bool:
    return any(map(reads_clock, past.measurements))
