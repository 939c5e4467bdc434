"""The HTML report: one file that opens from disk, asks for nothing from outside, and runs no text as code.

The rows travel as JSON inside the page; the script builds every element with `textContent`. A content
security policy allows exactly the style and the script of this file, by their hashes.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from itertools import groupby
from string import Template
from typing import Any

from weighbridge.contracts import REPORTS
from weighbridge.report.against import differences
from weighbridge.report.choices import choices
from weighbridge.report.escape import html, script, visible
from weighbridge.report.reasons import Reason, reasons
from weighbridge.report.slim import slim
from weighbridge.report.table import MARKS, build
from weighbridge.report.text import TextReport

STATUSES = ("fail", "error", "inconclusive", "unmeasured", "xfail", "skip", "pass")
WORDS = {
    "pass": "within limits",
    "fail": "over a limit",
    "inconclusive": "undecided",
    "error": "could not be weighed",
    "unmeasured": "without a decision",
    "skip": "skipped",
    "xfail": "expected to fail",
}
OPEN, LISTED = 20, 200
"""Reasons shown at once, and reasons listed at most."""
SCRIPTS = (
    "dom.js",
    "quantities.js",
    "scale.js",
    "labels.js",
    "plot.js",
    "charts.js",
    "flips.js",
    "detail.js",
    "table.js",
    "main.js",
)


class Html(TextReport):
    """`reports/latest.html`."""

    name = "html"
    suffix = ".html"

    def render(self, report: Mapping[str, Any]) -> str:
        """The whole page for a report of schema 2."""
        style = _asset("report.css")
        code = "(() => {\n'use strict';\n" + "\n".join(_asset(name) for name in SCRIPTS) + "\n})();"
        counts = Counter(str(row.get("status", "")) for row in report.get("rows", ()))
        noun = "artifact" if report.get("options", {}).get("audit") else "case"
        headline = _headline(counts, noun)
        page = Template(_asset("page.html"))
        return page.substitute(
            title=html(f"{headline} · Weighbridge"),
            headline=html(headline),
            nouns=f"{noun.capitalize()}s",
            bar=_bar(counts),
            where=html(_where(report)),
            versions=_versions(report),
            footer=html(_footer(report)),
            style=style,
            style_hash=_hash(style),
            script=code,
            script_hash=_hash(code),
            reasons=_reasons(report) + _changes(report) + _choices(report),
            data=script(_shown(slim(report))),
        )


def _asset(name: str) -> str:
    return files("weighbridge.report").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _headline(counts: Mapping[str, int], noun: str) -> str:
    total = sum(counts.values())
    judged = total - counts.get("skip", 0)
    if not total:
        return "Nothing was weighed"
    if not judged:
        return f"All {total} {noun}s were skipped" if total > 1 else f"The {noun} was skipped"
    if judged == 1:
        status = next(status for status in counts if status != "skip")
        return f"One {noun}, {WORDS.get(status, status)}"
    return f"{counts.get('pass', 0)} of {judged} {noun}s within their limits"


def _bar(counts: Mapping[str, int]) -> str:
    """Every status with its count: never only a colour, and a skipped case never looks like a passed one."""
    items = "".join(
        f'<li class="s-{status}"><b>{counts[status]}</b> {html(WORDS[status])}</li>'
        for status in STATUSES
        if counts.get(status)
    )
    return f'<ul class="tally">{items}</ul>'


def _reasons(report: Mapping[str, Any]) -> str:
    """Why cases need somebody, above everything else and open; beyond `OPEN` folded, beyond `LISTED` counted."""
    found = [list(some) for _, some in groupby(reasons(build(report).lines, report), lambda one: one.index)]
    if not found:
        return ""
    parts = [f'<ol class="reasons">{"".join(map(_case, found[:OPEN]))}</ol>']
    if len(found) > OPEN:
        more = (
            f"<p>… and {len(found) - LISTED} more, each in its row below.</p>" if len(found) > LISTED else ""
        )
        items = "".join(map(_case, found[OPEN:LISTED]))
        summary = f"<summary>{len(found) - OPEN} more</summary>"
        parts.append(f'<details>{summary}<ol class="reasons">{items}</ol>{more}</details>')
    head = '<h2 id="why-title">What needs attention</h2>'
    return f'<section aria-labelledby="why-title">{head}{"".join(parts)}</section>'


def _changes(report: Mapping[str, Any]) -> str:
    """How cases differ from an earlier run, where one was named."""
    found = differences(build(report).lines)
    if found is None:
        return ""
    items = [
        f'<li><a href="#row-{line.index}" data-row="{line.index}">{html(line.name)}</a> {html(text)}</li>'
        for line, text in found.changed[:LISTED]
    ]
    if len(found.changed) > LISTED:
        items.append(f"<li>… and {len(found.changed) - LISTED} more, each in its row below</li>")
    items += [
        f"<li>{times} case{'s' if times > 1 else ''}: {html(why)}</li>" for why, times in found.why.items()
    ]
    head = f'<h2 id="since-title">{html(found.title)}</h2>'
    listed = f'<ul class="since">{"".join(items)}</ul>' if items else ""
    return f'<section aria-labelledby="since-title">{head}{listed}</section>'


def _choices(report: Mapping[str, Any]) -> str:
    """Which recipe of each model to ship."""
    if report.get("options", {}).get("audit"):
        return ""
    items = [f"<li>{html(str(choice))}</li>" for choice in choices(build(report).lines)[:LISTED]]
    head = '<h2 id="choices-title">Which to ship</h2>'
    listed = f'<ul class="since">{"".join(items)}</ul>'
    return f'<section aria-labelledby="choices-title">{head}{listed}</section>' if items else ""


def _case(some: Sequence[Reason]) -> str:
    """All reasons of one case."""
    first = some[0]
    status = f'<span class="status s-{first.status}">{MARKS[first.status]} {first.status}</span>'
    link = f'<a href="#row-{first.index}" data-row="{first.index}">{html(first.who)}</a>'
    return f"<li><p>{status} {link}</p>{''.join(map(_reason, some))}</li>"


def _reason(reason: Reason) -> str:
    others = f"<small>and {reason.others} more</small>" if reason.others else ""
    again = f"<code>{html(reason.again)}</code>" if reason.again else ""
    items = "".join(f"<li>{html(text)}</li>" for text in reason.advice)
    advice = f'<ul class="advice">{items}</ul>' if items else ""
    return f'<p class="why">{html(reason.text)}<small>{html(reason.place)}</small>{others}</p>{advice}{again}'


def _where(report: Mapping[str, Any]) -> str:
    machine = report.get("machine", {})
    cores = f"{machine['cores']} cores" if machine.get("cores") else ""
    parts = [
        _moment(str(report.get("created", ""))),
        str(machine.get("cpu", "")),
        cores,
        str(machine.get("os", "")),
    ]
    return " · ".join(part for part in parts if part)


def _moment(created: str) -> str:
    """An ISO 8601 time to the minute in UTC, or the text itself when it is none."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _versions(report: Mapping[str, Any]) -> str:
    """The machine's other facts and every version, as one definition list."""
    machine = {key: value for key, value in report.get("machine", {}).items() if value not in (None, "", [])}
    facts = {**machine, **report.get("versions", {})}
    return "".join(
        f"<div><dt>{html(key)}</dt><dd>{html(_plain(value))}</dd></div>" for key, value in facts.items()
    )


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def _footer(report: Mapping[str, Any]) -> str:
    version = report.get("versions", {}).get("weighbridge", "")
    return f"Weighbridge {version} · report schema {report.get('schema', '')}"


def _shown(value: Any) -> Any:
    """`value` with the hidden characters of every text made visible."""
    if isinstance(value, str):
        return value if value.isascii() and value.isprintable() else visible(value, lines=True)
    if isinstance(value, dict):
        return {_shown(key): _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return value


REPORTS.add("html", Html())
