"""`latest.json`: the contract, and the one source of every other format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from weighbridge.contracts import REPORTS
from weighbridge.report.escape import finite


class Json:
    name = "json"
    suffix = ".json"

    def render(self, report: Mapping[str, Any]) -> str:
        return json.dumps(finite(report), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


REPORTS.add(Json.name, Json())
