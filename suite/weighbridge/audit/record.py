"""The record of an audit: an in-toto statement, and what is held against it later.

Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. The subjects are the artifact's
files, by name and SHA-256; the predicate holds the budget, everything else that was read, the measurements,
the verdicts, the versions and the machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from weighbridge.audit.budget import labels
from weighbridge.audit.sign import Refused, open_envelope, payload_of
from weighbridge.audit.sign import sign as sign_payload
from weighbridge.case.model import Case
from weighbridge.contracts import FORMATS, MEASURES, THRESHOLDS
from weighbridge.core.errors import UsageError
from weighbridge.core.files import file_digest, read_regular
from weighbridge.core.results import to_json
from weighbridge.formats.suffixes import format_of
from weighbridge.run.bundle import named_files

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://pypi.org/project/weighbridge/audit/v1"
SUFFIX = ".intoto.json"
COUNTED = ("bytes", "count")
MOST_BYTES = 256 << 20
"""Of a record."""


def make_statement(report: Mapping[str, Any], cases: Sequence[Case], budget: Path) -> dict[str, Any]:
    """The statement on `report`, which came of `cases` of `budget`."""
    subjects = dict.fromkeys(path for case in cases for path in artifact_files(case))
    names = labels(list(subjects))
    predicate = {
        "budget": {"name": budget.name, "digest": digest(budget)},
        "materials": [{"name": path.name, "digest": digest(path)} for path in materials(cases)],
        "confidence": report["options"].get("confidence"),
        **{key: report[key] for key in ("created", "machine", "versions")},
        "results": [_lasting(row) for row in report["rows"]],
    }
    predicate = to_json(predicate)
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": names[path], "digest": digest(path)} for path in subjects],
        "predicateType": PREDICATE,
        "predicate": predicate,
    }
    return {**statement, "predicate": {**predicate, "checksum": checksum(statement)}}


def _lasting(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without what only pictures need."""
    measurements = {name: value for name, value in row["measurements"].items() if name != "layers"}
    return {**row, "measurements": measurements}


def write_record(statement: Mapping[str, Any], path: Path, key: Path | None = None) -> None:
    """The statement as JSON; with a private key, inside a signed envelope."""
    payload = json.dumps(statement, indent=1, ensure_ascii=False, allow_nan=False).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(payload if key is None else json.dumps(sign_payload(payload, key), indent=1).encode())


def read_record(path: Path, key: Path | None = None) -> tuple[dict[str, Any], bool]:
    """(statement, whether its signature was checked). Raises `Refused` for a record that was altered.

    Without a signature a record is only held against its own checksum, which whoever alters it can mend.
    """
    try:
        outer = json.loads(read_regular(path, MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as a record: {error}") from error
    if not isinstance(outer, dict):
        raise UsageError(f"{path} is no record of an audit")
    signed = "payloadType" in outer or "signatures" in outer
    if not signed and key is not None:
        raise Refused("the record is not signed, though a key was given to check it with")
    payload = open_envelope(outer, key) if key else payload_of(outer) if signed else None
    try:
        statement = json.loads(payload) if payload is not None else outer
        return _checked(statement), key is not None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"the record is damaged: {error!r}") from error


def _checked(statement: dict[str, Any]) -> dict[str, Any]:
    if statement.get("_type") != STATEMENT or statement.get("predicateType") != PREDICATE:
        raise Refused(f"the record is no statement of type {PREDICATE}")
    _read_all(statement, statement["predicate"])
    if statement["predicate"]["checksum"] != checksum(statement):
        raise Refused("the record was altered: its checksum is that of another text")
    return statement


def _read_all(statement: Mapping[str, Any], predicate: Mapping[str, Any]) -> None:
    """Touch whatever is read later, so that a record that lacks it is found out here."""
    for one in (*statement["subject"], *predicate["materials"], predicate["budget"]):
        if not (isinstance(one["name"], str) and isinstance(one["digest"]["sha256"], str)):
            raise TypeError("a digest is no text")
    for row in predicate["results"]:
        if not (isinstance(row["name"], str) and isinstance(row["status"], str)):
            raise TypeError("a result has no name or no status")
        _which(row)
        _samples(row)
        for verdict in row["verdicts"]:
            _ = verdict["threshold"], verdict["status"], verdict["measured"]


def check_files(statement: Mapping[str, Any], artifacts: Sequence[Path], budget: Path | None) -> list[str]:
    """What was compared, in words; raises `Refused` where a file is not the one that was audited.

    The files that belong to an artifact (its external data) are compared with it.
    """
    subjects = [(PurePosixPath(one["name"]).name, one["digest"]["sha256"]) for one in statement["subject"]]
    lines, belonging = [], {artifact: _all_files_of(artifact) for artifact in artifacts}
    for path in dict.fromkeys(path for files in belonging.values() for path in files):
        recorded = [sha256 for name, sha256 in subjects if name == path.name]
        if not recorded:
            raise Refused(
                f"{path.name} is not in the record, which is about {', '.join(name for name, _ in subjects)}"
            )
        if digest(path)["sha256"] not in recorded:
            raise Refused(
                f"{path.name} is not the file that was audited: its SHA-256 differs from the record's"
            )
        lines.append(f"{path.name}: the file that was audited")
    for artifact, files in belonging.items():
        _check_together(statement, artifact, files)
    stated = statement["predicate"]["budget"]
    if budget is not None and digest(budget) != stated["digest"]:
        raise Refused(
            f"{budget.name} is not the budget of the record ({stated['name']}): its SHA-256 differs"
        )
    if budget is not None:
        lines.append(f"{budget.name}: the budget that it was held to")
    return lines


def _check_together(statement: Mapping[str, Any], artifact: Path, files: Sequence[Path]) -> None:
    """Raise `Refused` for one artifact's graph beside another's weights, each of which was audited."""
    held = {digest(path)["sha256"] for path in files}
    audited = [set(_which(row)[1]) for row in statement["predicate"]["results"]]
    if len(files) > 1 and all(audited) and not any(held <= one for one in audited):
        others = ", ".join(path.name for path in files[1:])
        raise Refused(
            f"{artifact.name} and {others} were each audited, and not together: they belong to different artifacts"
        )


def recorded_verdicts(statement: Mapping[str, Any]) -> list[str]:
    """A line for each result: that a record is good says nothing of what it records."""
    lines = []
    for row in statement["predicate"]["results"]:
        missed = [f"{one['threshold']} {one['status']}" for one in row["verdicts"] if one["status"] != "pass"]
        kept = f"kept all {len(row['verdicts'])} lines of the budget"
        if row["status"] != "pass" and not missed:
            kept = f"{row['status']}, nothing was decided"
        lines.append(f"recorded of {row['name']}: {', '.join(missed) or kept}")
    return lines


def recorded_breach(statement: Mapping[str, Any]) -> bool:
    """Whether a line of the budget was not kept, or not decided."""
    rows = statement["predicate"]["results"]
    return any(
        row["status"] != "pass" or any(one["status"] != "pass" for one in row["verdicts"]) for row in rows
    )


def check_materials(statement: Mapping[str, Any], cases: Sequence[Case]) -> None:
    """Raises `Refused` where the previous release, the samples, or the code of data or metric, is not what it was."""
    known = {(one["name"], one["digest"]["sha256"]) for one in statement["predicate"]["materials"]}
    for path in materials(cases):
        if (path.name, digest(path)["sha256"]) not in known:
            raise Refused(f"{path.name}, which decided the verdicts, is not the file that was used")


def compare(statement: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """How a second measuring differs: other verdicts, and other numbers where a number is counted."""
    lines = []
    first = {_which(row): row for row in statement["predicate"]["results"]}
    for row in report["rows"]:
        before = first.get(_which(row))
        if before is None:
            lines.append(f"{row['name']}: the record has no result of it")
            continue
        recorded = {verdict["threshold"]: verdict for verdict in before["verdicts"]}
        for new in row["verdicts"]:
            where, old = f"{row['name']}, {new['threshold']}", recorded.get(new["threshold"])
            if old is None:
                lines.append(f"{where}: the record has no verdict on it")
            elif old["status"] != new["status"]:
                lines.append(f"{where}: was {old['status']}, is {new['status']}: {new['message']}")
            elif _counted(new) and old["measured"] != new["measured"]:
                lines.append(f"{where}: was {old['measured']}, is {new['measured']}")
    return lines


def other_samples(statement: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """A sentence for each result whose accuracy is of other samples this time: what the code of the data reads is no file of the
    record, and a loader may give the same in another order, so that it is told and no difference.
    """
    first = {_which(row): _samples(row) for row in statement["predicate"]["results"]}
    return [
        f"{row['name']}: its accuracy is of other samples than the record's, or of the same in another order"
        for row in report["rows"]
        if (now := _samples(row)) and (then := first.get(_which(row))) and now != then
    ]


def _samples(row: Mapping[str, Any]) -> str | None:
    """What the samples that accuracy was measured on are known by."""
    found: str | None = row["measurements"].get("accuracy", {}).get("details", {}).get("samples")
    return found


def _which(row: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """What tells a result from another's: its name without folders, and what its files held."""
    candidate = row["artifacts"]["candidate"]
    held = tuple(one["sha256"] for one in candidate["files"]) if candidate else ()
    return PurePosixPath(row["name"]).name, held


def _counted(verdict: Mapping[str, Any]) -> bool:
    """Whether the number must be the same each time: bytes of a file are, bytes of memory are not."""
    bench = MEASURES.get(THRESHOLDS.get(verdict["threshold"]).measure).bench
    return verdict["unit"] in COUNTED and not bench


def artifact_files(case: Case) -> tuple[Path, ...]:
    """The files that are audited: the candidate's, or the model's where there is no baseline."""
    ref = case.candidate or case.model
    return files_of(ref.format, Path(ref.reference))


def files_of(format_: str, path: Path) -> tuple[Path, ...]:
    """`path` and the files that belong to it; an unreadable model is still a file with a digest."""
    if not path.is_file():
        return (path,)
    try:
        return (path, *(one for one in FORMATS.get(format_).companions(path) if one.is_file()))
    except Exception:  # the parser raises whatever the damage makes it raise
        return (path,)


def _all_files_of(artifact: Path) -> tuple[Path, ...]:
    """The same, all of which must be there; raises `Refused` where one is missing."""
    if not artifact.is_file():
        return (artifact,)
    try:
        belonging = FORMATS.get(format_of(artifact)).companions(artifact)
    except Exception:  # damaged as it is, its digest tells whether it was so when it was audited
        return (artifact,)
    for one in belonging:
        if not one.is_file():
            raise Refused(f"{one.name}, which belongs to {artifact.name}, is missing")
    return artifact, *belonging


def materials(cases: Sequence[Case]) -> list[Path]:
    """What else decided the verdicts: the previous release with the files that belong to it, and the samples, metric and code
    that the budget names.
    """
    found: list[Path] = []
    for case in cases:
        own = artifact_files(case)
        before = files_of(case.model.format, Path(case.model.reference))
        found += [path for path in (*before, *named_files(case)) if path not in own]
    return list(dict.fromkeys(found))


def digest(path: Path) -> dict[str, str]:
    """{"sha256": hexadecimal}; raises `UsageError` where there is no such file."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is a folder, a pipe or a device, and no file")
    try:
        return {"sha256": file_digest(path)}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def checksum(statement: Mapping[str, Any]) -> str:
    """SHA-256 of the statement without its checksum, as JSON with sorted keys and no spaces."""
    predicate = {key: value for key, value in statement["predicate"].items() if key != "checksum"}
    text = json.dumps(
        {**statement, "predicate": predicate},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()
