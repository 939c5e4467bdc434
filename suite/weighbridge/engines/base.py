"""What an engine says of itself beside opening an artifact, with the usual answer: a new one overrides what differs."""

from __future__ import annotations

from weighbridge.contracts import EngineOptions, Requirement


class EngineBase:
    """Base of every engine; see `contracts.Engine` for what each member means."""

    options: type[EngineOptions] = EngineOptions
    requires: tuple[Requirement, ...] = ()
    packages: tuple[str, ...] = ()
    runs = True
    sums_int8_in_pairs = False
