"""An ML-BOM: the artifacts that passed, as components of a CycloneDX bill of materials with hashes, origin and model card.

Source: https://cyclonedx.org/docs/1.6/json. What failed its gate is not to ship, so it stands in no bill.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from weighbridge.contracts import REPORTS
from weighbridge.report.escape import visible
from weighbridge.report.judged import passed
from weighbridge.report.text import TextReport


class CycloneDx(TextReport):
    """`reports/latest.cdx.json`."""

    name = "cyclonedx"
    suffix = ".cdx.json"

    def render(self, report: Mapping[str, Any]) -> str:
        """Each case that passed is a model; the packages that run it are what it depends on."""
        shipped = [row for row in report["rows"] if passed(row) and row["artifacts"]["candidate"]]
        packages = {name: number for row in shipped for name, number in _packages(row)}
        own = {"type": "application", "name": "weighbridge", **_version(report, "weighbridge")}
        document = {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            **_serial(report),
            "version": 1,
            "metadata": {
                **_timestamp(report),
                "lifecycles": [{"phase": "post-build"}],
                "tools": {"components": [own]},
                "properties": [*_properties(_surroundings(report))],
            },
            "components": [
                *map(_model, shipped),
                *(
                    {
                        "type": "library",
                        "bom-ref": _reference(name, number),
                        "name": name,
                        "version": number,
                        "purl": _reference(name, number),
                    }
                    for name, number in sorted(packages.items())
                ),
            ],
            "dependencies": [
                {
                    "ref": row["case"],
                    "dependsOn": sorted({_reference(name, number) for name, number in _packages(row)}),
                }
                for row in shipped
            ],
        }
        return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _model(row: Mapping[str, Any]) -> dict[str, Any]:
    said = {"status": row["status"], "inputs": row["inputs"], "engine": row["engine"]}
    card = {"quantitativeAnalysis": {"performanceMetrics": [*_metrics(row)]}}
    original = row["artifacts"]["baseline"]
    steps = "; ".join(
        f"{step['step']} {json.dumps(step['options'], sort_keys=True)}" for step in row["steps"]
    )
    ancestors = [_files(original, _file_name(original), f"{row['case']}/baseline")] if original else []
    pedigree = {
        **({"ancestors": ancestors} if ancestors else {}),
        **({"notes": visible(steps)} if steps else {}),
    }
    return {
        **_files(row["artifacts"]["candidate"], row["name"], row["case"]),
        **({"pedigree": pedigree} if pedigree else {}),
        "modelCard": card,
        "properties": [*_properties(said | {"format": row["artifacts"]["candidate"]["format"]})],
    }


def _file_name(artifact: Mapping[str, Any]) -> str:
    """What an engine opens."""
    return next((PurePosixPath(file["path"]).name for file in artifact["files"]), artifact["format"])


def _files(artifact: Mapping[str, Any], name: str, reference: str) -> dict[str, Any]:
    """A model with its files; one that is a single file has its hash too."""
    files = [
        {
            "type": "file",
            "bom-ref": f"{reference}/{file['path']}",
            "name": visible(file["path"]),
            "hashes": _hashes(file),
            "properties": [*_properties({"bytes": file["bytes"]})],
        }
        for file in artifact["files"]
    ]
    return {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": visible(name),
        **({"hashes": _hashes(artifact["files"][0])} if len(files) == 1 else {}),
        "components": files,
    }


def _hashes(file: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": file["sha256"]}]


def _metrics(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What was measured of the candidate, in its unit; then what was judged, with its interval."""
    for name, one in row["measurements"].items():
        if one["candidate"] is not None:
            yield {"type": name, "value": f"{one['candidate']} {one['unit']}".rstrip()}
    for verdict in row["verdicts"]:
        if verdict["measured"] is not None:
            low, high = verdict["interval"] or (None, None)
            bounds = {"lowerBound": low, "upperBound": high}
            known = {name: str(value) for name, value in bounds.items() if value is not None}
            value = f"{verdict['measured']} {verdict['unit']}".rstrip()
            yield {
                "type": f"threshold {verdict['threshold']}",
                "value": value,
                **({"confidenceInterval": known} if known else {}),
            }


def _packages(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What runs the artifact: name and version, of `onnxruntime 1.31.1, numpy 2.1.0`."""
    for one in (row["artifacts"]["candidate"].get("runtime") or "").split(", "):
        name, _, number = one.partition(" ")
        if name and number:
            yield name.replace("_", "-"), number


def _reference(name: str, number: str) -> str:
    """A package URL, which is percent-encoded where a local version has a `+`."""
    return f"pkg:pypi/{name.lower()}@{number.replace('+', '%2B')}"


def _surroundings(report: Mapping[str, Any]) -> dict[str, Any]:
    versions = {f"version:{name}": number for name, number in report.get("versions", {}).items()}
    return {"commit": report.get("commit"), "machine": report.get("machine_class"), **versions}


def _properties(found: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for name, value in found.items():
        if value not in (None, ""):
            yield {"name": f"weighbridge:{name}", "value": visible(str(value))}


def _version(report: Mapping[str, Any], package: str) -> dict[str, str]:
    number = report.get("versions", {}).get(package)
    return {"version": number} if number else {}


def _serial(report: Mapping[str, Any]) -> dict[str, str]:
    try:
        return {"serialNumber": uuid.UUID(report["run"]).urn}
    except (KeyError, ValueError):  # a report that somebody made
        return {}


def _timestamp(report: Mapping[str, Any]) -> dict[str, str]:
    try:
        return {"timestamp": datetime.fromisoformat(report["created"]).isoformat()}
    except (KeyError, TypeError, ValueError):
        return {}


REPORTS.add(CycloneDx.name, CycloneDx())
