"""A history as one HTML file: charts drawn here, as SVG, so that it has no script and asks for nothing from outside."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.resources import files

from weighbridge.core.past import Past
from weighbridge.history.chart import chart
from weighbridge.history.series import Series, series_of
from weighbridge.report.escape import html
from weighbridge.report.names import rows_of_nodes, short_names
from weighbridge.report.table import MARKS

RUNS = 200
"""Runs in a case's table at most."""


def page(cases: Mapping[str, Sequence[Past]]) -> str:
    """The page of some cases, each with at least one run, oldest first."""
    style = "\n".join(
        files(f"weighbridge.{room}").joinpath("assets", name).read_text(encoding="utf-8")
        for room, name in (("report", "report.css"), ("history", "history.css"))
    )
    allowed = f"sha256-{b64encode(hashlib.sha256(style.encode()).digest()).decode()}"
    pasts = [past for some in cases.values() for past in some]
    runs = len({past.run for past in pasts})
    title = next(iter(cases)) if len(cases) == 1 else f"{len(cases)} cases"
    first, last = (edge(past.created for past in pasts)[:10] for edge in (min, max))
    names = short_names(rows_of_nodes(list(cases)))
    sections = [
        _case(name, some, single=len(cases) == 1) for name, some in zip(names, cases.values(), strict=True)
    ]
    policy = f"default-src 'none'; style-src '{allowed}'; base-uri 'none'; form-action 'none'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html(title)} · Weighbridge history</title>
<style>{style}</style>
</head>
<body>
<header>
<p class="mark">Weighbridge history</p>
<h1>{html(title)}</h1>
<p class="where">{runs} run{"s" if runs != 1 else ""}, {html(first)} to {html(last)}</p>
</header>
<main>
{"".join(sections)}
</main>
</body>
</html>
"""


def _case(name: str, pasts: Sequence[Past], single: bool) -> str:
    listed = series_of(pasts)
    told = "".join(f"<li>{html(text)}</li>" for one in listed for text in one.told())
    changes = f'<ul class="changes">{told}</ul>' if told else ""
    figures = (
        "".join(_figure(one) for one in listed) or '<p class="empty">No run of it measured anything.</p>'
    )
    count = f"{len(pasts)} run{'s' if len(pasts) != 1 else ''}"
    head = "" if single else f"<h2>{html(name)} <small class='note'>{count}</small></h2>"
    shown = " open" if single else ""
    return (
        f'<section>{head}{changes}<div class="trends">{figures}</div>'
        f'<details class="runs"{shown}><summary>The runs</summary><div class="scroll">{_table(pasts, listed)}</div>'
        "</details></section>"
    )


def _figure(series: Series) -> str:
    name = series.name.replace("_", " ")
    machine = f"<br>on {html(series.machine)}" if series.machine else ""
    value = html(series.show(series.values[-1]))
    caption = f"<b>{html(name)} {value}</b>, {html(series.span)} so far{machine}"
    return f"<figure><figcaption>{caption}</figcaption>{chart(series)}</figure>"


def _table(pasts: Sequence[Past], listed: Sequence[Series]) -> str:
    """Newest first."""
    cells: dict[str, dict[str, str]] = {}
    for one in listed:
        cells.setdefault(one.name, {}).update((point.past.run, one.show(point.value)) for point in one.points)
    head = "".join(f'<th class="num">{html(name.replace("_", " "))}</th>' for name in cells)
    rows = []
    for past in list(reversed(pasts))[:RUNS]:
        status = f'<span class="status s-{html(past.status)}">{MARKS.get(past.status, "")} {html(past.status)}</span>'
        values = "".join(f'<td class="num">{html(known.get(past.run, ""))}</td>' for known in cells.values())
        commit = f"{(past.commit or '')[:7]}{'+' if past.dirty else ''}"
        rows.append(
            f"<tr><td>{status}</td><td>{html(past.created[:16].replace('T', ' '))}</td><td>{html(commit)}</td>"
            f"<td>{html(past.branch or '')}</td>{values}</tr>"
        )
    more = f"<p class='note'>… {len(pasts) - RUNS} earlier runs</p>" if len(pasts) > RUNS else ""
    top = f"<thead><tr><th>status</th><th>when</th><th>commit</th><th>branch</th>{head}</tr></thead>"
    return f"<table>{top}<tbody>{''.join(rows)}</tbody></table>{more}"
