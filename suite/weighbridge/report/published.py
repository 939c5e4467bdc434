"""The published JSON Schema of `reports/latest.json`."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def report_schema() -> dict[str, Any]:
    """Draft 2020-12, for report schema 1."""
    text = files("weighbridge.report").joinpath("assets", "report.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
