"""Reports of shards, or of several runs, joined into one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.core.errors import UsageError
from weighbridge.core.listed import few

NAMED = 5
"""Cases that an error names at most."""


def merge(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One report of schema 2, of those given by the names of their files. The same reports always give the same one, with
    the rows of shards in the order of the whole run.

    Raises `UsageError` where a case is in two of them, where they are of different commits, where a shard, or a case of
    one, is missing, where shards were asked for different things, and where there is no case: a hole would look like a pass.
    """
    _same_commit(reports)
    _no_duplicates(reports)
    if any(report.get("shard") for report in reports.values()):
        _no_holes(reports)
    if not any(report["rows"] for report in reports.values()):
        raise UsageError(
            "none of the reports has a case: their jobs were given no case file (`weighbridge_cases` says where those lie), or "
            "-k or -m left none; nothing measured would look like a pass"
        )
    listed = sorted(reports.values(), key=lambda report: (report["created"], report["run"]))
    first = listed[0]
    classes = {report.get("machine_class") or "" for report in listed}
    rows = [
        {**row, "machine_class": row.get("machine_class") or report.get("machine_class") or ""}
        for report in listed
        for row in report["rows"]
    ]
    places = {
        case: at for report in listed for case, at in ((report.get("shard") or {}).get("places", {})).items()
    }
    runs = sorted(report["run"] for report in listed)
    return {
        **first,
        "created": max(report["created"] for report in listed),
        "run": hashlib.sha256(" ".join(runs).encode()).hexdigest()[:32],
        "dirty": any(report.get("dirty") for report in listed),
        "machine_class": classes.pop() if len(classes) == 1 else "",
        "versions": _versions(listed),
        "options": {
            **{key: value for key, value in first["options"].items() if key != "argv"},
            "merged": runs,
        },
        "shard": None,
        "rows": sorted(rows, key=lambda row: (places.get(row["case"], 0), row["path"], row["line"])),
    }


def _same_commit(reports: Mapping[str, Mapping[str, Any]]) -> None:
    commits = {name: report["commit"] for name, report in reports.items()}
    if len(set(commits.values())) > 1:
        told = ", ".join(f"{name} of {(commit or 'none')[:7]}" for name, commit in commits.items())
        raise UsageError(f"the reports are of different commits: {told}")


def _no_duplicates(reports: Mapping[str, Mapping[str, Any]]) -> None:
    owner: dict[str, str] = {}
    twice = []
    for name, report in reports.items():
        for row in report["rows"]:
            if row["case"] in owner:
                twice.append(f"{row['case']} (in {owner[row['case']]} and {name})")
            owner[row["case"]] = name
    if twice:
        raise UsageError(f"a case is in two of the reports: {few(twice, NAMED)}")


def _no_holes(reports: Mapping[str, Mapping[str, Any]]) -> None:
    whole = [name for name, report in reports.items() if not report.get("shard")]
    if whole:
        raise UsageError(f"{', '.join(whole)}: no shard, as the others are")
    shards = {name: report["shard"] for name, report in reports.items()}
    counts = {shard["of"] for shard in shards.values()}
    if len(counts) > 1:
        raise UsageError(f"the shards are of {' and '.join(map(str, sorted(counts)))}, and not of one run")
    (count,) = counts
    missing = sorted(set(range(1, count + 1)) - {shard["index"] for shard in shards.values()})
    if missing:
        some = few((f"{index}/{count}" for index in missing), NAMED)
        raise UsageError(f"no report of shard {some}: a hole would look like a pass")
    if len(shards) > count:
        raise UsageError(f"{len(shards)} reports of {count} shards: one of them is there twice")
    if len({shard["dealt"] for shard in shards.values()}) > 1:
        raise UsageError(
            "the shards were dealt differently: their jobs collected other cases, or balanced by other histories; give all "
            "of them the same one, or --history off"
        )
    for name, report in reports.items():
        left = list(set(shards[name]["places"]) - {row["case"] for row in report["rows"]})
        if left:
            raise UsageError(f"{name} lacks {few(sorted(left), NAMED)}: its job ended early")
    for key in ("bench", "confidence"):
        stated = {name: report["options"].get(key) for name, report in reports.items()}
        if len(set(stated.values())) > 1:
            told = ", ".join(f"{name} {json.dumps(value)}" for name, value in stated.items())
            raise UsageError(
                f"the shards were asked for different things, {key}: {told}; what some did not measure would look like a pass"
            )


def _versions(reports: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """Of each package; both where jobs had different ones."""
    found: dict[str, dict[str, None]] = {}
    for report in reports:
        for name, version in report["versions"].items():
            found.setdefault(name, {})[version or ""] = None
    return {name: ", ".join(filter(None, some)) or None for name, some in found.items()}
