"""Rows -> the whole report (`reports/latest.json`, schema 2), the one source of every other format."""

from __future__ import annotations

import platform
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from weighbridge.report.contract import SCHEMA

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


def make_report(
    rows: Sequence[Mapping[str, Any]], options: Mapping[str, Any], root: Path, run: str = ""
) -> dict[str, Any]:
    """The report of `rows` (`CaseResult.row()`), of the commit that is checked out in `root`."""
    from weighbridge.environment.machine import describe

    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": run or uuid.uuid4().hex,
        "commit": _commit(root),
        "machine": describe(),
        "versions": versions(),
        "options": {**options, "argv": sys.argv[1:]},
        "rows": list(rows),
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that numbers depend on, as far as they are installed."""
    found = {name: number for name in PACKAGES if (number := _version(name))}
    return {"python": platform.python_version(), **found}


def _commit(root: Path) -> str | None:
    """None outside of a git checkout, or without git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
