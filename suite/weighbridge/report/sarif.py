"""SARIF 2.1.0 (OASIS): what was missed or went wrong, on its line of the case file, for code scanning and editors.

Source of the format: docs.oasis-open.org/sarif/sarif/v2.1.0. What passed is no result there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from weighbridge.contracts import REPORTS, THRESHOLDS
from weighbridge.report.escape import visible
from weighbridge.report.text import TextReport

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"fail": "error", "error": "error", "inconclusive": "warning", "unmeasured": "warning"}


class Sarif(TextReport):
    """`reports/latest.sarif`."""

    name = "sarif"
    suffix = ".sarif"

    def render(self, report: Mapping[str, Any]) -> str:
        """One run; a result for each verdict, or case without one, that is neither a pass nor a skip."""
        results = [result for row in report["rows"] for result in _results(row)]
        rules = sorted({result["ruleId"] for result in results})
        driver = {
            "name": "weighbridge",
            "version": str(report.get("versions", {}).get("weighbridge", "")),
            "rules": [{"id": rule, "shortDescription": {"text": _described(rule)}} for rule in rules],
        }
        run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
        return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _results(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    found = [verdict for verdict in row["verdicts"] if verdict["status"] in _LEVELS]
    if not found and row["status"] in _LEVELS:
        yield _result(row, row["stage"], row["status"], row["message"], row.get("line"), None)
    for verdict in found:
        text = "\n".join([verdict["message"] or row["message"], *verdict["advice"]])
        rule, status = verdict["threshold"], verdict["status"]
        yield _result(row, rule, status, text, verdict["line"] or row.get("line"), verdict["column"])


def _result(
    row: Mapping[str, Any], rule: str, status: str, text: str, line: int | None, column: int | None
) -> dict[str, Any]:
    region = {"startLine": line or 1, **({"startColumn": column} if column else {})}
    place = {"artifactLocation": {"uri": quote(row["path"]), "uriBaseId": "%SRCROOT%"}, "region": region}
    # Lines move; the case and its threshold are what makes it the same finding in the next run.
    same = hashlib.sha256(f"{row['case']} {rule}".encode()).hexdigest()
    return {
        "ruleId": rule,
        "level": _LEVELS[status],
        "message": {"text": visible(f"{row['name']}: {text or status}", lines=True)},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"weighbridge/v1": same},
    }


def _described(rule: str) -> str:
    if rule in THRESHOLDS:
        return THRESHOLDS.get(rule).doc
    return f"A {rule} that did not go as the case asks."


REPORTS.add("sarif", Sarif())
