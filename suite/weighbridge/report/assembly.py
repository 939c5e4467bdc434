"""Rows -> the whole report (`reports/latest.json`, schema 2), the one source of every other format."""

from __future__ import annotations

import platform
import sys
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from weighbridge.core.urls import without_password
from weighbridge.report.contract import SCHEMA

PACKAGES = (
    "weighbridge",
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "onnxscript",
    "numpy",
    "scipy",
    "tensorflow",
    "ai-edge-litert",
    "torchao",
)


def make_report(
    rows: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
    root: Path,
    run: str = "",
    machine_name: str = "",
    shard: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The report of `rows` (`CaseResult.row()`), of the commit that is checked out in `root`.

    `machine_name` is what the project calls machines of this kind, where it has a name for them; `shard` says which part of
    the cases this is.
    """
    from weighbridge.environment.machine import describe, machine_class
    from weighbridge.environment.revision import revision

    at, machine = revision(root), describe()
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "run": run or uuid.uuid4().hex,
        "commit": at.commit,
        "branch": at.branch,
        "dirty": at.dirty,
        "machine": machine,
        "machine_class": machine_name or machine_class(machine),
        "versions": versions(),
        "options": {**options, "argv": [without_password(word) for word in sys.argv[1:]]},
        "shard": shard,
        "rows": list(rows),
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that numbers depend on, as far as they are installed."""
    found = {name: number for name in PACKAGES if (number := _version(name))}
    return {"python": platform.python_version(), **found}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
