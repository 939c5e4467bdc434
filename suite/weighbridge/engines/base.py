"""What an engine says of itself beside opening an artifact, with the usual answer: a new one overrides what differs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weighbridge.contracts import EngineOptions, Mixed, Requirement
from weighbridge.core.results import Artifact


class EngineBase:
    """Base of every engine; see `contracts.Engine` for what each member means."""

    options: type[EngineOptions] = EngineOptions
    requires: tuple[Requirement, ...] = ()
    packages: tuple[str, ...] = ()
    runs = True
    sums_int8_in_pairs = False

    def untimed(self, artifact: Artifact, options: Any) -> Any:
        """As they are."""
        return options

    def mixed(self, original: Artifact, candidate: Artifact, options: Any) -> Iterator[Mixed]:
        """Nothing: what this engine runs has no layers that could be exchanged."""
        return iter(())
