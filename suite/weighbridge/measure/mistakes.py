"""Limits that cannot fail, or that only a mistake explains, and what was probably meant."""

from __future__ import annotations

from collections.abc import Callable

from weighbridge.contracts import Limit

Mistaken = Callable[[Limit], str | None]

LARGER = 2 / 3
"""A ratio of bytes below this lets the file grow by half and more: nobody asks an optimizer for that."""


def at_most_one(name: str) -> Mistaken:
    """Of a fraction whose limit is `max`: 1 and more is kept by whatever comes, and so is `min` alone by whatever is bad."""

    def look(limit: Limit) -> str | None:
        if limit.max is None and limit.min is not None and limit.min > 0:
            return (
                f"{name} of at least {limit.min:g} is what a ruined candidate has, and a good one misses; "
                f"did you mean {{max: {limit.min:g}}}?"
            )
        if limit.max is None or limit.max < 1:
            return None
        meant = f"; did you mean {limit.max / 100:g} ({limit.max:g} %)?" if 1 < limit.max <= 100 else ""
        return (
            f"{name} is a fraction, never above 1, so that a limit of {limit.max:g} cannot be missed{meant}"
        )

    return look


def not_much_more(name: str) -> Mistaken:
    """Of what is left over what there was, whose limit is `max`: a tool may store it twice, but nobody asks for that."""

    def look(limit: Limit) -> str | None:
        if limit.max is None or limit.max <= 1 / LARGER:
            return None
        meant = f"; did you mean {limit.max / 100:g} ({limit.max:g} %)?" if limit.max <= 100 else ""
        return f"{name} are over those of the original: {limit.max:g} lets them become {limit.max:g} times as many{meant}"

    return look


def a_fraction(name: str) -> Mistaken:
    """Of a fraction whose limit is `min`: 0 is always kept, unless `max` stands beside it, and more than 1 never."""

    def look(limit: Limit) -> str | None:
        if limit.min is None or 0 < limit.min <= 1:
            return None
        if limit.min <= 0 and limit.max is not None:
            return None
        if limit.min <= 0:
            return f"{name} is never below 0, so that a limit of {limit.min:g} cannot be missed"
        meant = f"; did you mean {limit.min / 100:g} ({limit.min:g} %)?" if limit.min <= 100 else ""
        return f"{name} is a fraction, never above 1, so that {limit.min:g} cannot be reached{meant}"

    return look


def above_zero(name: str) -> Mistaken:
    """Of what is never below 0 and whose limit is `min`: without `max` beside it 0 is kept by whatever comes."""

    def look(limit: Limit) -> str | None:
        if limit.min is None or limit.min > 0 or limit.max is not None:
            return None
        return f"{name} is never below 0, so that a limit of {limit.min:g} cannot be missed"

    return look


def smaller(name: str) -> Mistaken:
    """Of bytes before over bytes after: 0.25 is a file four times as large, and a quarter of the size is 4.

    With `max` beside it, somebody expects the file to grow, and says how much.
    """

    def look(limit: Limit) -> str | None:
        if limit.min is None or limit.max is not None or limit.min >= LARGER:
            return None
        if limit.min <= 0:
            return f"{name} is never below 0"
        return (
            f"{name} is bytes before over bytes after: {limit.min:g} lets them grow {1 / limit.min:.3g} times; "
            f"did you mean {1 / limit.min:.3g} ({limit.min:g} of the bytes)?"
        )

    return look


def decibels(name: str) -> Mistaken:
    """Of signal over noise in dB: a share, as of a correlation, would let the noise be nearly as strong as the signal."""

    def look(limit: Limit) -> str | None:
        if limit.min is None or not 0 < limit.min < 1:
            return None
        return (
            f"{name} is in dB and no share: {limit.min:g} dB lets the noise have {10 ** (-limit.min / 10):.0%} of the "
            "signal's power; did you mean 20, where it has 1 %?"
        )

    return look
