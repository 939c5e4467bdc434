"""A history as text for a terminal: a line a quantity with its sparkline, what changed, and the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from weighbridge.core.past import Past
from weighbridge.core.urls import without_password
from weighbridge.history.history import Run
from weighbridge.history.series import Series, series_of
from weighbridge.report.escape import terminal as clean
from weighbridge.report.layout import Paint, cut, pad, painter, width_of, wrap
from weighbridge.report.names import rows_of_nodes, short_names
from weighbridge.report.table import MARKS, count

BARS = "▁▂▃▄▅▆▇█"
SPARK, LEAST = 24, 6
"""Columns of a sparkline, and at least."""
RUNS, CASES, CHANGES = 20, 40, 10
"""Lines at most."""
GAP = "   "


def sparkline(values: Sequence[float], width: int) -> str:
    """The values between their least and most, in at most `width` columns; a column stands for the median of its runs."""
    if len(values) > width:
        edges = [round(index * len(values) / width) for index in range(width + 1)]
        values = [median(values[start:end]) for start, end in pairwise(edges) if start < end]
    low, high = min(values), max(values)
    if high == low:
        return BARS[3] * len(values)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1))] for value in values)


def one_case(case: str, pasts: Sequence[Past], color: bool, width: int) -> str:
    """A case: each quantity's trend, its changes, and the last runs, newest first."""
    paint, listed, width = painter(color), series_of(pasts), max(width, 40)
    runs = "run" if len(pasts) == 1 else "runs"
    head = f"{clean(case)}: {len(pasts)} {runs}, {pasts[0].created[:10]} to {pasts[-1].created[:10]}"
    out = [*wrap(head, width, "  "), ""]
    out += _trends(listed, width, paint)
    told = [line for one in listed for text in one.told() for line in _told(text, width, paint)]
    out += ["", *told] if told else []
    return "\n".join([*out, "", *_rows(pasts, listed, width, paint)]) + "\n"


def all_cases(
    place: str,
    runs: Sequence[Run],
    cases: Mapping[str, Sequence[Past]],
    color: bool,
    width: int,
) -> str:
    """What is kept: a line a case, what changed in any of them, and the last runs. `cases` has at least one run each."""
    paint, width = painter(color), max(width, 40)
    names = short_names(rows_of_nodes(list(cases)))
    shown = list(zip(names, cases.values(), strict=True))
    listed = [(name, pasts, series_of(pasts)) for name, pasts in shown[:CASES]]
    head = f"{len(cases)} case{'s' if len(cases) > 1 else ''} in {clean(without_password(place))}"
    out = [cut(head, width), ""]
    out += _overview(listed, width, paint)
    if len(shown) > CASES:
        out.append(paint(f"   … {len(shown) - CASES} more cases (name one, or --html)", "quiet"))
    told = [
        _told(f"{name}: {text}", width, paint)
        for name, _, some in listed
        for one in some
        for text in one.told()
    ]
    out += ["", *(line for lines in told[:CHANGES] for line in lines)] if told else []
    if len(told) > CHANGES:
        out.append(paint(f"  {len(told) - CHANGES} more changes (name a case, or --html)", "quiet"))
    out += ["", paint(f"   {pad('when', 16)}{GAP}{pad('commit', 8)}{GAP}branch", "quiet")]
    for run in runs[:RUNS]:
        statuses = [status for status, times in run.counts.items() for _ in range(times)]
        shard = f" (shard {run.shard})" if run.shard else ""
        line = GAP.join(
            [
                _when(run.created),
                pad(_commit(run.commit, run.dirty), 8),
                pad(cut(clean(run.branch or ""), 14), 14),
                count(statuses) + shard,
            ]
        )
        out.append(cut(f"   {line}", width))
    return "\n".join(out) + "\n"


def _trends(listed: Sequence[Series], width: int, paint: Paint) -> list[str]:
    rows = [(one.name.replace("_", " "), _last(one), one) for one in listed]
    names = max((width_of(name) for name, _, _ in rows), default=0)
    values = max((width_of(value) for _, value, _ in rows), default=0)
    room = max(LEAST, min(SPARK, width - names - values - 2 * len(GAP) - 24))
    out = []
    for name, value, one in rows:
        spark = pad(sparkline(one.values, room), room)
        out.append(f"{pad(name, names)}{GAP}{pad(value, values)}{GAP}{spark}{GAP}{one.span}".rstrip())
        if one.machine:
            out += [
                paint(f"{'':{names}}{GAP}{line}", "quiet")
                for line in wrap(f"on {clean(one.machine)}", width - names - 3)
            ]
    return out


def _last(series: Series) -> str:
    return series.show(series.values[-1])


def _told(text: str, width: int, paint: Paint) -> list[str]:
    return [paint(line, "unsure") for line in wrap(clean(f"{MARKS['unsure']} {text}"), width, "    ")]


def _rows(pasts: Sequence[Past], listed: Sequence[Series], width: int, paint: Paint) -> list[str]:
    """A line a run; columns that do not fit are left out."""
    shown = list(reversed(pasts))[:RUNS]
    columns: dict[str, dict[str, str]] = {}
    for one in listed:
        cells = columns.setdefault(one.name.replace("_", " "), {})
        cells |= {point.past.run: one.show(point.value) for point in one.points}
    branch = min(14, max(len("branch"), *(width_of(clean(past.branch or "")) for past in shown)))
    room = width - 3 - 16 - 8 - branch - 2 * len(GAP)
    kept: dict[str, int] = {}
    for name, cells in columns.items():
        column = max(width_of(name), *(width_of(cells.get(past.run, "")) for past in shown))
        if column + len(GAP) <= room:
            kept[name] = column
            room -= column + len(GAP)
    head = [pad("when", 16), pad("commit", 8), pad("branch", branch)]
    out = [
        paint(f"   {GAP.join([*head, *(pad(name, size) for name, size in kept.items())])}".rstrip(), "quiet")
    ]
    for past in shown:
        texts = [
            _when(past.created),
            pad(_commit(past.commit, past.dirty), 8),
            pad(cut(clean(past.branch or ""), branch), branch),
            *(pad(columns[name].get(past.run, ""), size) for name, size in kept.items()),
        ]
        mark = paint(MARKS.get(past.status, "·"), past.status)
        out.append(f"{mark}  {GAP.join(texts)}".rstrip())
    if len(pasts) > len(shown):
        out.append(paint(f"   … {len(pasts) - len(shown)} earlier runs", "quiet"))
    return out


def _overview(
    listed: Sequence[tuple[str, Sequence[Past], Sequence[Series]]], width: int, paint: Paint
) -> list[str]:
    """A line a case: of each quantity the last value and its trend, as far as there is room."""
    columns: dict[str, list[Series | None]] = {}
    for index, (_, pasts, own) in enumerate(listed):
        for one in own:
            # Of several classes of machines, the one that ran last.
            if not one.machine or one.machine == pasts[-1].machine:
                columns.setdefault(one.name, [None] * len(listed))[index] = one
    name_width = min(max(width_of(clean(name)) for name, _, _ in listed), max(16, width // 3))
    room = width - 3 - name_width
    kept: dict[str, int] = {}
    for name, some in columns.items():
        values = max(width_of(_last(one)) for one in some if one)
        least = max(values + 1 + LEAST, len(name))
        if least + len(GAP) <= room:
            kept[name] = values
            room -= least + len(GAP)
    spark = LEAST + min(room // max(len(kept), 1), SPARK - LEAST)
    heads = [pad(name.replace("_", " "), values + 1 + spark) for name, values in kept.items()]
    out = [paint(f"   {GAP.join([pad('case', name_width), *heads])}".rstrip(), "quiet")]
    for index, (name, pasts, _) in enumerate(listed):
        texts = [
            pad(
                "" if one is None else f"{pad(_last(one), values)} {sparkline(one.values, spark)}",
                values + 1 + spark,
            )
            for one, values in ((columns[column][index], values) for column, values in kept.items())
        ]
        mark = paint(MARKS.get(pasts[-1].status, "·"), pasts[-1].status)
        out.append(f"{mark}  {GAP.join([pad(cut(clean(name), name_width), name_width), *texts])}".rstrip())
    return out


def _when(created: str) -> str:
    return created[:16].replace("T", " ")


def _commit(commit: str | None, dirty: bool | None) -> str:
    return f"{clean(commit or '')[:7]}{'+' if dirty else ''}"
