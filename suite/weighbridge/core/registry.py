"""`Registry[T]`: names to implementations. A duplicate or an unknown name is an error that lists the candidates."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from weighbridge.core.errors import UsageError, did_you_mean

T = TypeVar("T")

# The rooms whose files register themselves on import. Each file is light: heavy packages load inside functions.
ROOMS = (
    "formats",
    "convert",
    "steps.prune",
    "steps.cluster",
    "steps.equalize",
    "steps.train",
    "steps.quantize",
    "engines",
    "measure",
    "report",
    "run.executors",
    "numerics.quantizers",
)


@dataclass(frozen=True)
class Origin:
    """The module outside of Weighbridge that registered something; `file` is empty where it has none."""

    module: str
    file: str


_origins: dict[Origin, None] = {}


def origins() -> tuple[Origin, ...]:
    """Every module that extended Weighbridge so far, in order: another process has to import them too."""
    return tuple(_origins)


class Registry(Generic[T]):
    """An ordered table of implementations of one contract.

    `what` names the contract in error messages ("engine", "threshold").
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._entries: dict[str, T] = {}
        self._files: dict[str, str] = {}

    def add(self, name: str, entry: T) -> T:
        """Register `entry`; raises `UsageError` when the name is taken.

        A file that is imported under two names, as a conftest that a case names too, registers the same thing twice.
        """
        caller = sys._getframe(1).f_globals
        module, file = str(caller.get("__name__", "")), str(caller.get("__file__") or "")
        if name in self._entries and not (file and self._files.get(name) == file):
            raise UsageError(
                f"{self.what} '{name}' is registered twice: {self._entries[name]!r} and {entry!r}"
            )
        self._entries[name] = entry
        if module.partition(".")[0] != __name__.partition(".")[0]:
            _origins.setdefault(Origin(module, file))
            self._files[name] = file
        return entry

    def file_of(self, name: str) -> str | None:
        """The file outside of Weighbridge that registered `name`; None for what Weighbridge brings itself."""
        return self._files.get(name)

    def get(self, name: str) -> T:
        """The entry called `name`; raises `UsageError` with the candidates when there is none."""
        discover()
        if name not in self._entries:
            raise UsageError(f"unknown {self.what} '{name}'{did_you_mean(name, self._entries)}")
        return self._entries[name]

    def names(self) -> list[str]:
        discover()
        return list(self._entries)

    def __contains__(self, name: object) -> bool:
        discover()
        return name in self._entries

    def __iter__(self) -> Iterator[T]:
        discover()
        return iter(self._entries.values())


@cache
def discover() -> None:
    """Import every file of every room, then the extensions that other packages declare."""
    for room in ROOMS:
        package = importlib.import_module(f"weighbridge.{room}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"weighbridge.{room}.{module.name}")
    for entry_point in entry_points(group="weighbridge.extensions"):
        entry_point.load()
