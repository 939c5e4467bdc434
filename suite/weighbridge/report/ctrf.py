"""The Common Test Report Format (ctrf.io), which dashboards and chat bots of CI systems read: a test for each threshold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from weighbridge.contracts import REPORTS
from weighbridge.report.escape import visible
from weighbridge.report.junit import properties
from weighbridge.report.text import TextReport

_STATUS = {"pass": "passed", "fail": "failed", "error": "failed", "inconclusive": "failed", "skip": "skipped"}
"""The format knows no expected failure; that, and what was not measured, is `other`."""
_COUNTED = ("passed", "failed", "pending", "skipped", "other")


class Ctrf(TextReport):
    """`reports/latest.ctrf.json`."""

    name = "ctrf"
    suffix = ".ctrf.json"

    def render(self, report: Mapping[str, Any]) -> str:
        """Durations and times in milliseconds, as the format has them; our own status and numbers under `extra`."""
        tests = [test for row in report["rows"] for test in _tests(row)]
        counts = Counter(test["status"] for test in tests)
        stop = _milliseconds(report.get("created"))  # when the run ended; when it began is not written down
        summary = {"tests": len(tests), **{status: counts[status] for status in _COUNTED}}
        summary |= {"start": max(stop - sum(test["duration"] for test in tests), 0), "stop": stop}
        version = str(report.get("versions", {}).get("weighbridge", ""))
        results = {"tool": {"name": "weighbridge", "version": version}, "summary": summary, "tests": tests}
        document = {"reportFormat": "CTRF", "specVersion": "0.0.0", "results": results}
        return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _tests(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A case without a verdict is one test that carries its message."""
    for number, verdict in enumerate(row["verdicts"] or [None]):
        status = verdict["status"] if verdict else row["status"]
        message = verdict["message"] if verdict else row["message"]
        yield {
            "name": f"{row['name']} {verdict['threshold']}" if verdict else row["name"],
            "status": _STATUS.get(status, "other"),
            # The recipe ran once for all thresholds: its time stands at the first, so that the sum is right.
            "duration": 0 if number else round(1000 * row["seconds"]),
            "suite": [row["path"], row["name"]],
            "filePath": row["path"],
            "line": (verdict or row).get("line") or row.get("line") or 1,
            "rawStatus": status,
            **({"message": visible(message, lines=True)} if message else {}),
            "extra": properties(verdict) if verdict else {"stage": row["stage"]},
        }


def _milliseconds(created: Any) -> int:
    try:
        return round(1000 * datetime.fromisoformat(created).timestamp())
    except (TypeError, ValueError):  # a report that somebody made
        return 0


REPORTS.add("ctrf", Ctrf())
