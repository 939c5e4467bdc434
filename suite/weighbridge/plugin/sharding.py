"""`--shard`: of everything that was selected, the part of this job."""

from __future__ import annotations

from typing import Any

import pytest

from weighbridge.core.errors import UsageError
from weighbridge.environment.revision import revision
from weighbridge.history.history import History
from weighbridge.history.shards import NOTHING, Shard, deal, fingerprint
from weighbridge.plugin.items import CaseItem, FaultItem
from weighbridge.plugin.options import Settings


def take_part(
    shard: Shard, items: list[pytest.Item], settings: Settings, config: pytest.Config
) -> dict[str, Any]:
    """Leave the items of this part, a case whole; gives what the report says of it. Other tests are dealt one by one."""
    dealt = deal(map(_unit, items), shard.of, _seconds(settings))
    cases = dict.fromkeys(_unit(item) for item in items if isinstance(item, CaseItem | FaultItem))
    places = {case: place for place, case in enumerate(cases) if dealt[case] == shard.index}
    mine = [item for item in items if dealt[_unit(item)] == shard.index]
    others = [item for item in items if dealt[_unit(item)] != shard.index]
    if others:
        config.hook.pytest_deselected(items=others)
    items[:] = mine
    return {"index": shard.index, "of": shard.of, "places": places, "dealt": fingerprint(dealt)}


def had_nothing(part: dict[str, Any]) -> bool:
    """Whether no job had anything to do: then a part without tests is no matter of how they were dealt."""
    return bool(part["dealt"] == NOTHING)


def _unit(item: pytest.Item) -> str:
    return item.parent.nodeid if isinstance(item, CaseItem) else item.nodeid


def _seconds(settings: Settings) -> dict[str, float]:
    """How long each case takes, by runs from before the commit was made: those are the same for all jobs, even while some
    of them keep theirs already. Nothing without a history, or outside of git."""
    committed = revision(settings.root).committed
    if not (settings.history and committed):
        return {}
    try:
        return History(settings.history).seconds(committed)
    except UsageError:  # the run's end tells, where it is to be kept
        return {}
