"""The sample that the documentation shows is what these commands write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from weighbridge.audit.record import digest, read_record

SAMPLE = Path(__file__).parents[2] / "reports" / "sample"
DOCS = Path(__file__).parents[2] / "docs" / "audit.md"


def test_the_record_is_of_this_budget_and_unaltered() -> None:
    statement, signed = read_record(SAMPLE / "audit.intoto.json")
    assert not signed
    assert statement["predicate"]["budget"]["digest"] == digest(SAMPLE / "budget.yaml")
    assert len(statement["subject"]) == 12


def test_the_table_of_the_documentation_is_the_record() -> None:
    statement, _ = read_record(SAMPLE / "audit.intoto.json")
    shown = dict(re.findall(r"^\| `([^`]+)` \|.*\| ([a-z_,:; ]+) \|$", DOCS.read_text(), re.MULTILINE))
    assert shown == {Path(row["name"]).name: words(row) for row in statement["predicate"]["results"]}


def words(row: dict[str, Any]) -> str:
    parts = []
    for word, statuses in (("over", ("fail",)), ("undecided", ("error", "skip", "inconclusive"))):
        names = [verdict["threshold"] for verdict in row["verdicts"] if verdict["status"] in statuses]
        parts += [f"{word}: {', '.join(names)}"] if names else []
    return "; ".join(parts) or "within"
