"""A budget and the artifacts it is for -> cases. A budget is a case file without model and recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weighbridge.case.expand import expand
from weighbridge.case.model import Case
from weighbridge.case.text import Document, read
from weighbridge.case.validate import validate
from weighbridge.core.errors import CaseError, UsageError
from weighbridge.formats.suffixes import format_of, formats_by_suffix

OWN = ("model", "candidate", "recipe")
"""What a case file says and a budget leaves to the command line."""


def read_budget(path: Path, artifacts: Sequence[Path], baseline: Path | None = None) -> list[Case]:
    """One case an artifact; raises `CaseError` with every fault, before anything is opened or measured.

    `baseline` (or the budget's own `baseline:`, relative to the budget) is the previous release.
    """
    document = read(path)
    if not isinstance(document.data, dict):
        raise CaseError(path, [*document.faults, _first(document, "a budget is a mapping with `thresholds`")])
    for key in OWN:
        if key in document.data:
            document.fault((key,), f"a budget is for any artifact: `{key}` does not belong in it", key=True)
    stated = document.data.pop("baseline", None)
    if stated is not None and not isinstance(stated, str):
        document.fault(("baseline",), f"baseline: should be a path, not {stated!r}")
    elif stated is not None and baseline is None:
        baseline = path.parent / stated
        if not baseline.is_file():
            document.fault(("baseline",), f"no file {baseline}")
    if document.faults:
        raise _faults(document)
    names = labels(artifacts)
    cases = [case for artifact in artifacts for case in _cases(document, artifact, names[artifact], baseline)]
    if document.faults:
        raise _faults(document)
    return cases


def _cases(document: Document, artifact: Path, label: str, baseline: Path | None) -> list[Case]:
    data: dict[str, Any] = {**document.data, "model": _reference(baseline or artifact)}
    if baseline is not None:
        data["candidate"] = _reference(artifact)
    raws = expand(replace(document, data=data))
    named = [replace(raw, name=label if len(raws) == 1 else f"{label}[{raw.name}]") for raw in raws]
    return [case for raw in named if (case := validate(raw, document)) is not None]


def labels(artifacts: Sequence[Path]) -> dict[Path, str]:
    """What each artifact is called: its name, with as many folders in front as tell it from the others."""
    parts = {path: path.resolve().parts for path in artifacts}

    def label(path: Path) -> str:
        own = parts[path]
        alone = (
            length
            for length in range(1, len(own))
            if not any(other[-length:] == own[-length:] for other in parts.values() if other != own)
        )
        return "/".join(own[-next(alone, len(own)) :])

    return {path: label(path) for path in artifacts}


def _reference(path: Path) -> dict[str, str]:
    return {format_of(path): str(path.resolve())}


def _first(document: Document, message: str) -> Any:
    document.fault((), message)
    return document.faults.pop()


def _faults(document: Document) -> CaseError:
    return CaseError(
        document.path, sorted(set(document.faults), key=lambda fault: (fault.line, fault.column))
    )


def find_artifacts(names: Sequence[str]) -> list[Path]:
    """Files, folders (searched through) and globs -> model files, each once; raises `UsageError`.

    A file that is named is taken whatever its suffix, so that a wrong one is an error and not left out.
    """
    known, found = formats_by_suffix(), []
    for name in names:
        path = Path(name)
        if path.is_file():
            here = [path]
            format_of(path)
        elif path.is_dir():
            here = [
                item for item in sorted(path.rglob("*")) if item.is_file() and item.suffix.lower() in known
            ]
        elif path.exists():
            raise UsageError(f"{name} is a pipe or a device, and no model file")
        else:
            root = Path(path.anchor) if path.is_absolute() else Path()
            pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else name
            here = [
                item for item in sorted(root.glob(pattern)) if item.is_file() and item.suffix.lower() in known
            ]
        if not here:
            raise UsageError(f"{name}: no model file (of {', '.join(sorted(known))}) is there")
        found += here
    return list(dict.fromkeys(found))
