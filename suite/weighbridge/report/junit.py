"""The JUnit report of a finished run, one test case a threshold, with the numbers as properties.

While testing, `pytest --junitxml` writes its own, from the same numbers (`properties` gives them).
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.contracts import REPORTS
from weighbridge.report.escape import xml
from weighbridge.report.limits import bounds
from weighbridge.report.text import TextReport

Element = ElementTree.Element


class Junit(TextReport):
    """`reports/latest.xml`."""

    name = "junit"
    suffix = ".xml"

    def render(self, report: Mapping[str, Any]) -> str:
        """A suite a case file, a test case a threshold; machine and versions are properties of each suite."""
        root = Element("testsuites", name="weighbridge")
        by_path: dict[str, list[Mapping[str, Any]]] = {}
        for row in report["rows"]:
            by_path.setdefault(row["path"], []).append(row)
        for path, rows in by_path.items():
            cases = [case for row in rows for case in _cases(row)]
            suite = ElementTree.SubElement(
                root,
                "testsuite",
                name=xml(path),
                timestamp=xml(report.get("created", "")),
                tests=str(len(cases)),
                failures=_count(cases, "failure"),
                errors=_count(cases, "error"),
                skipped=_count(cases, "skipped"),
                time=f"{sum(row['seconds'] for row in rows):.3f}",
            )
            _properties(
                suite,
                {
                    **_flat("machine", report.get("machine", {})),
                    **_flat("version", report.get("versions", {})),
                },
            )
            suite.extend(cases)
        ElementTree.indent(root)
        return f"<?xml version='1.0' encoding='utf-8'?>\n{ElementTree.tostring(root, encoding='unicode')}\n"


def properties(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a verdict as JUnit properties, absent ones left out."""
    low, high = verdict["interval"] or (None, None)
    found = {
        **{f"limit_{side}": bound for side, bound in bounds(verdict["limit"]).items()},
        "measured": verdict["measured"],
        "unit": verdict["unit"] or None,
        "interval_low": low,
        "interval_high": high,
        "confidence": verdict["confidence"],
        "sure": verdict["sure"],
        "margin": verdict["margin"],
        "status": verdict["status"],
    }
    return {name: value for name, value in found.items() if value is not None}


def _cases(row: Mapping[str, Any]) -> Iterator[Element]:
    """A case without a verdict is one test case that carries its message."""
    verdicts = row["verdicts"] or [None]
    for verdict in verdicts:
        # The recipe ran once for all thresholds: its time stands at the first, so that the sum is right.
        seconds = row["seconds"] if verdict is verdicts[0] else 0.0
        case = Element(
            "testcase",
            classname=xml(row["case"]),
            name=xml(verdict["threshold"] if verdict else row["name"]),
            file=xml(row["path"]),
            line=str((verdict or row).get("line") or row.get("line") or 1),
            time=f"{seconds:.3f}",
        )
        status, message = row["status"], row["message"]
        if verdict:
            _properties(case, properties(verdict))
            status, message = verdict["status"], "\n".join([verdict["message"], *verdict["advice"]])
        tag = {
            "fail": "failure",
            "inconclusive": "failure",
            "error": "error",
            "skip": "skipped",
            "xfail": "skipped",
            "unmeasured": "skipped",
        }.get(status)
        if tag:
            problem = ElementTree.SubElement(
                case, tag, message=xml(message.splitlines()[0] if message else status), type=xml(status)
            )
            problem.text = xml(message)
        yield case


def _properties(parent: Element, values: Mapping[str, Any]) -> None:
    if values:
        holder = ElementTree.SubElement(parent, "properties")
        for name, value in values.items():
            ElementTree.SubElement(holder, "property", name=xml(name), value=xml(value))


def _flat(prefix: str, values: Mapping[str, Any]) -> dict[str, str]:
    return {
        f"{prefix}.{name}": ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for name, value in values.items()
        if value is not None
    }


def _count(cases: list[Element], tag: str) -> str:
    return str(sum(case.find(tag) is not None for case in cases))


REPORTS.add("junit", Junit())
