"""`latest.json`: the contract, and the one source of every other format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from weighbridge.contracts import REPORTS
from weighbridge.core.results import to_json
from weighbridge.report.text import TextReport


class Json(TextReport):
    name = "json"
    suffix = ".json"

    def render(self, report: Mapping[str, Any]) -> str:
        """JSON has a way to write a lone surrogate; UTF-8, which the file is in, has none."""
        text = json.dumps(to_json(report), indent=1, allow_nan=False, ensure_ascii=False)
        return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


REPORTS.add(Json.name, Json())
