"""Items' parts -> the rows of the report contract (`reports/latest.json`, schema 1)."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from weighbridge.case.model import Case, ThresholdRef
from weighbridge.core.results import SCHEMA, Measurement, Outcome, Status, Verdict, to_json

PACKAGES = (
    "weighbridge",
    "torch",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "numpy",
    "scipy",
    "tensorflow",
    "ai-edge-litert",
    "torchao",
)
_SEVERITY = (Status.ERROR, Status.FAIL, Status.INCONCLUSIVE, Status.XFAIL, Status.PASS, Status.SKIP)


def make_row(
    nodeid: str,
    path: str,
    case: Case,
    outcome: Outcome | None,
    measured: Mapping[str, Measurement],
    verdict: Verdict,
    ref: ThresholdRef,
    status: Status,
    message: str,
    engine: str | None,
) -> dict[str, Any]:
    """One item's row: everything known of its case, and its own verdict."""
    done = outcome or Outcome(case.name, status, "collect")
    measurements = {**done.measurements, **measured}
    return {
        "case": nodeid,
        "path": path,
        "name": case.name,
        "line": case.line,
        "status": str(status),
        "stage": done.stage,
        "message": done.message,
        "seconds": done.seconds,
        "engine": engine,
        "format": done.candidate.format if done.candidate else None,
        "artifact": str(done.candidate.path) if done.candidate else None,
        "steps": to_json(
            [
                {
                    "step": step.step,
                    "seconds": step.seconds,
                    "before": step.before,
                    "after": step.after,
                    "notes": step.notes,
                }
                for step in done.steps
            ]
        ),
        "measurements": {
            name: {
                "unit": item.unit,
                "baseline": to_json(item.baseline),
                "candidate": to_json(item.candidate),
                "details": to_json(item.details),
            }
            for name, item in measurements.items()
        },
        "verdicts": [
            {
                **to_json(verdict),
                "status": str(status),
                "line": ref.line,
                "column": ref.column,
                "message": message or verdict.message,
            }
        ],
        "notes": list(done.notes),
    }


def make_fault_row(
    nodeid: str, path: str, name: str, line: int, status: Status, message: str
) -> dict[str, Any]:
    """The row of a file, or a case, that could not be read."""
    verdict = {
        **to_json(Verdict("case file", status, "valid")),
        "status": str(status),
        "line": line,
        "column": 1,
        "message": message,
    }
    return {
        "case": nodeid,
        "path": path,
        "name": name,
        "line": line,
        "status": str(status),
        "stage": "collect",
        "message": message,
        "seconds": 0.0,
        "engine": None,
        "format": None,
        "artifact": None,
        "steps": [],
        "measurements": {},
        "verdicts": [verdict],
        "notes": [],
    }


def merge_rows(parts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a case. Its status is the worst of its verdicts; it is `skip` only when all are."""
    rows: dict[str, dict[str, Any]] = {}
    for part in parts:
        row = rows.get(part["case"])
        if row is None:
            rows[part["case"]] = dict(part)
            continue
        verdicts = [
            verdict for verdict in row["verdicts"] if verdict["threshold"] != part["verdicts"][0]["threshold"]
        ]
        keep = part if part["stage"] != "collect" else row
        rows[part["case"]] = {
            **row,
            **{
                key: keep[key]
                for key in ("stage", "message", "seconds", "engine", "format", "artifact", "steps", "notes")
            },
            "measurements": {**row["measurements"], **part["measurements"]},
            "verdicts": [*verdicts, *part["verdicts"]],
        }
    for row in rows.values():
        found = {verdict["status"] for verdict in row["verdicts"]}
        row["status"] = str(next(status for status in _SEVERITY if status in found))
        row["verdicts"].sort(key=lambda verdict: (verdict["line"], verdict["column"]))
    return list(rows.values())


def make_report(parts: Iterable[Mapping[str, Any]], options: Mapping[str, Any]) -> dict[str, Any]:
    """The whole report contract."""
    from weighbridge.environment.machine import describe

    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        "versions": {
            "python": platform.python_version(),
            **{name: found for name in PACKAGES if (found := _version(name))},
        },
        "options": {**options, "argv": sys.argv[1:]},
        "rows": merge_rows(parts),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
