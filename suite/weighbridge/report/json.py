"""`latest.json`: the contract, and the one source of every other format.

Layers, classes and samples are the bulk of a row, and the reports of thousands of cases are sent about. Where they
would hold more than `SIZE`, the rows that need nobody give up theirs first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.contracts import REPORTS
from weighbridge.core.results import to_json
from weighbridge.report.table import ORDER
from weighbridge.report.text import TextReport

SIZE = 19_900_000
"""Bytes of rows at most, as far as leaving details out can help; the rest of a report takes a few thousand."""


class Json(TextReport):
    name = "json"
    suffix = ".json"

    def render(self, report: Mapping[str, Any]) -> str:
        """A line a row, so that a change shows where it is; what is not finite is null.

        JSON has a way to write a lone surrogate; UTF-8, which the file is in, has none.
        """
        rows = ",\n".join(_lines(report["rows"]))
        head = _dump({key: value for key, value in report.items() if key != "rows"})
        text = f'{head[:-1]}, "rows": [\n{rows}\n]}}\n'
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [_dump(row) for row in rows]
    over = sum(len(line.encode("utf-8", "backslashreplace")) for line in lines) - SIZE
    if over > 0:
        for index in sorted(range(len(rows)), key=lambda index: -ORDER.index(rows[index]["status"])):
            brief = _dump(_brief(rows[index]))
            over -= len(lines[index]) - len(brief)
            lines[index] = brief
            if over <= 0:
                break
    return lines


def _brief(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with every verdict and number, and without what is listed by layer, class or sample."""
    measurements = {
        name: {**one, "details": {key: value for key, value in one["details"].items() if not _listed(value)}}
        for name, one in row["measurements"].items()
    }
    steps = [
        {**step, "coverage": {**step["coverage"], "layers": []}} if step.get("coverage") else step
        for step in row["steps"]
    ]
    return {**row, "measurements": measurements, "steps": steps, "layer_errors": None, "left_out": True}


def _listed(value: Any) -> bool:
    """Whether it is more than a number, a word or an interval."""
    return isinstance(value, Mapping) or (
        isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 2
    )


def _dump(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    except ValueError:
        return json.dumps(to_json(value), allow_nan=False, ensure_ascii=False)


REPORTS.add(Json.name, Json())
