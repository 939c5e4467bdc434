"""SARIF 2.1.0 (OASIS): what was missed or went wrong, on its line of the case file, for code scanning and editors.

Source of the format: docs.oasis-open.org/sarif/sarif/v2.1.0. What passed is no result there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from weighbridge.contracts import REPORTS, THRESHOLDS
from weighbridge.core.errors import Fault
from weighbridge.report.escape import visible
from weighbridge.report.text import TextReport

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FAULT = "case file"
_FAULT = re.compile(r".+?:(\d+):(\d+): (.+)")
"""A line of a file's faults."""
_LEVELS = {"fail": "error", "error": "error", "inconclusive": "warning", "unmeasured": "warning"}


class Sarif(TextReport):
    """`reports/latest.sarif`."""

    name = "sarif"
    suffix = ".sarif"

    def render(self, report: Mapping[str, Any]) -> str:
        """One run; a result for each verdict, or case without one, that is neither a pass nor a skip."""
        results = [result for row in report["rows"] for result in _results(row)]
        return _document(results, str(report.get("versions", {}).get("weighbridge", "")))


def faults_as_sarif(faults: Sequence[tuple[str, Fault]], version: str) -> str:
    """What `weighbridge check` found, each fault with the path of its file."""
    return _document(
        [_fault(path, fault.line, fault.column, fault.message) for path, fault in faults], version
    )


def _document(results: Sequence[dict[str, Any]], version: str) -> str:
    rules = sorted({result["ruleId"] for result in results})
    driver = {
        "name": "weighbridge",
        "version": version,
        "rules": [{"id": rule, "shortDescription": {"text": _described(rule)}} for rule in rules],
    }
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": list(results)}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _results(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    faults = [_FAULT.fullmatch(line) for line in row["message"].splitlines()]
    if row["stage"] == "collect" and faults and all(faults):
        yield from (_fault(row["path"], int(one[1]), int(one[2]), one[3]) for one in faults if one)
        return
    found = [verdict for verdict in row["verdicts"] if verdict["status"] in _LEVELS]
    if not found and row["status"] in _LEVELS:
        yield _missed(row, row["stage"], row["status"], row["message"], row.get("line"), None)
    for verdict in found:
        text = "\n".join([verdict["message"] or row["message"], *verdict["advice"]])
        rule, status = verdict["threshold"], verdict["status"]
        yield _missed(row, rule, status, text, verdict["line"] or row.get("line"), verdict["column"])


def _missed(
    row: Mapping[str, Any], rule: str, status: str, text: str, line: int | None, column: int | None
) -> dict[str, Any]:
    # Lines move; the case and its threshold are what makes it the same finding in the next run.
    same = f"{row['case']} {rule}"
    return _result(
        row["path"], line or 1, column, rule, _LEVELS[status], f"{row['name']}: {text or status}", same
    )


def _fault(path: str, line: int, column: int, message: str) -> dict[str, Any]:
    return _result(path, line, column, FAULT, "error", message, f"{path} {message}")


def _result(
    path: str, line: int, column: int | None, rule: str, level: str, text: str, same: str
) -> dict[str, Any]:
    region = {"startLine": line, **({"startColumn": column} if column else {})}
    place = {"artifactLocation": {"uri": quote(path), "uriBaseId": "%SRCROOT%"}, "region": region}
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": visible(text, lines=True)},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"weighbridge/v1": hashlib.sha256(same.encode()).hexdigest()},
    }


def _described(rule: str) -> str:
    if rule == FAULT:
        return "A case file that does not say what it should."
    if rule in THRESHOLDS:
        return THRESHOLDS.get(rule).doc
    return f"A {rule} that did not go as the case asks."


REPORTS.add("sarif", Sarif())
