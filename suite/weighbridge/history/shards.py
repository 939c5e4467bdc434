"""Cases dealt out to the jobs of a CI run: each to exactly one, by what all jobs know alike."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from weighbridge.core.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """`3/8`: the third of eight, counted from one."""

    index: int
    of: int


def read_shard(text: str) -> Shard:
    """Raises `UsageError`."""
    found = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"a shard is written like 3/8, the third of eight, not '{text}'")
    return Shard(int(found[1]), int(found[2]))


def deal(units: Iterable[str], of: int, seconds: Mapping[str, float]) -> dict[str, int]:
    """The shard of each unit, counted from one.

    A unit whose time is known goes to whichever shard has least to do, the longest first (Graham 1969, SIAM J. Appl. Math.
    17:416); the others by a hash of their names, so that a new case moves none of those that are there.
    """
    listed = sorted(dict.fromkeys(units))
    dealt = {unit: _hash(unit) % of + 1 for unit in listed if not seconds.get(unit)}
    load = [0.0] * of
    for unit in sorted(
        (unit for unit in listed if unit not in dealt), key=lambda unit: (-seconds[unit], unit)
    ):
        shard = min(range(of), key=lambda index: load[index])
        load[shard] += seconds[unit]
        dealt[unit] = shard + 1
    return dealt


def fingerprint(dealt: Mapping[str, int]) -> str:
    """The same in two jobs that dealt the same cases the same way."""
    return hashlib.sha256(repr(sorted(dealt.items())).encode("utf-8", "replace")).hexdigest()[:16]


NOTHING = fingerprint({})
"""Of jobs that collected nothing."""


def _hash(unit: str) -> int:
    return int.from_bytes(hashlib.sha256(unit.encode("utf-8", "replace")).digest()[:8], "big")
