"""A series as a picture: SVG that the page's style colours, with a text for whoever cannot see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from weighbridge.history.changes import Change
from weighbridge.history.series import Series, limits_of
from weighbridge.report.escape import html

WIDTH, HEIGHT = 560, 190
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 14, 30
MOST_DOTS = 120
"""Runs that have a dot of their own; of more the line says enough."""


def chart(series: Series) -> str:
    """The runs from left to right, evenly: what counts is their order. Limits are dashed, changes dotted."""
    limits = limits_of(series)
    ends = [end for point in series.points if point.interval for end in point.interval if math.isfinite(end)]
    low, high, ticks = _scale([*series.values, *limits.values(), *ends])
    n = len(series.points)

    def x(index: float) -> float:
        room = WIDTH - LEFT - RIGHT
        return LEFT + room / 2 if n == 1 else LEFT + room * index / (n - 1)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low))

    parts = [_grid(series, ticks, y)]
    band = [(index, point.interval) for index, point in enumerate(series.points) if point.interval]
    if len(band) > 1:
        upper = [f"{x(index):.1f},{y(min(ends[1], high)):.1f}" for index, ends in band]
        lower = [f"{x(index):.1f},{y(max(ends[0], low)):.1f}" for index, ends in reversed(band)]
        parts.append(f'<polygon class="band" points="{" ".join([*upper, *lower])}"/>')
    for side, value in limits.items():
        text = f"{'at least' if side == 'min' else 'at most'} {series.show(value)}"
        parts.append(
            f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        )
        above = y(value) - 4 if y(value) > TOP + 12 else y(value) + 12
        parts.append(
            f'<text class="limit-text halo" x="{WIDTH - RIGHT}" y="{above:.1f}" text-anchor="end">{html(text)}</text>'
        )
    line = " ".join(f"{x(index):.1f},{y(value):.1f}" for index, value in enumerate(series.values))
    parts.append(f'<polyline class="trend" points="{line}"/>')
    if n <= MOST_DOTS:
        parts += [_dot(series, index, x(index), y(value)) for index, value in enumerate(series.values)]
    parts += [_change(series, change, x(change.start - 0.5)) for change in series.changes]
    dates = [(0, "start"), (n - 1, "end")] if n > 1 else [(0, "middle")]
    parts += [
        f'<text x="{x(index):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{html(series.points[index].past.shown)}</text>'
        for index, anchor in dates
    ]
    label = (
        f"{series.name} of {n} runs, from {series.show(series.values[0])} to {series.show(series.values[-1])}"
    )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html(label)}">{"".join(parts)}</svg>'


def _grid(series: Series, ticks: Sequence[float], y: Callable[[float], float]) -> str:
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{html(series.show(tick))}</text>'
        for tick in ticks
    )


def _dot(series: Series, index: int, x: float, y: float) -> str:
    past = series.points[index].past
    text = html(
        f"{past.shown}, {past.branch or 'no branch'}: {series.show(series.values[index])}, {past.status}"
    )
    circle = f'<circle class="run" cx="{x:.1f}" cy="{y:.1f}" r="2.8"><title>{text}</title></circle>'
    return f'<g class="s-{html(past.status)}">{circle}</g>'


def _change(series: Series, change: Change, x: float) -> str:
    """A dotted line, with the commit where the values that follow are not."""
    text = html((series.points[change.start].past.commit or "")[:7])
    y = HEIGHT - BOTTOM - 4 if change.after > change.before else TOP + 10
    anchor, at = ("end", x - 4) if x > WIDTH * 0.8 else ("start", x + 4)
    return (
        f'<line class="change" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="change-text halo" x="{at:.1f}" y="{y}" text-anchor="{anchor}">{text}</text>'
    )


def _scale(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """The ends of the axis, and three or four round numbers on it."""
    low, high = min(values), max(values)
    if high - low <= 1e-6 * max(abs(low), abs(high), 1e-12):
        room = abs(high) * 0.01 or 1.0
        low, high = low - room, high + room
    room = (high - low) * 0.08
    low, high = low - room, high + room
    raw = (high - low) / 3
    power = 10 ** math.floor(math.log10(raw))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= raw)
    first = math.ceil(low / step)
    return low, high, [index * step for index in range(first, math.floor(high / step) + 1)]
