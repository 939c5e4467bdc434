"""What must be present before a case can run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Requirement:
    """Something that must be present before a case can run: `kind` is `package`, `isa`, `path`, `engine`
    or `command`."""

    kind: str
    name: str
    install: str = ""
    """The command that provides it, as the user would type it."""
    version: str = ""
    """Of a package: the least version that will do."""
