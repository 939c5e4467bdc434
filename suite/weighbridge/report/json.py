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
        """A line a row, so that a change shows where it is; what is not finite is null.

        JSON has a way to write a lone surrogate; UTF-8, which the file is in, has none.
        """
        rows = ",\n".join(map(_dump, report["rows"]))
        head = _dump({key: value for key, value in report.items() if key != "rows"})
        text = f'{head[:-1]}, "rows": [\n{rows}\n]}}\n'
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _dump(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    except ValueError:
        return json.dumps(to_json(value), allow_nan=False, ensure_ascii=False)


REPORTS.add(Json.name, Json())
