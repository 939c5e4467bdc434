"""`weighbridge cache`: the store of results that were made once."""

from __future__ import annotations

import argparse
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.cli.verbs import add_store, add_verb

if TYPE_CHECKING:
    from weighbridge.run.object_store import ObjectStore
    from weighbridge.run.store import Store

_KINDS = {
    "model": "models, as they ship",
    "record": "what a step did",
    "result": "measurements",
    "side": "evaluations of one model",
}


def register(verbs: Any) -> None:
    verb = add_verb(verbs, "cache", run, "look after the store of results: show, prune, verify, clear")
    verb.add_argument(
        "action",
        choices=("show", "prune", "verify", "clear"),
        help="show what it holds; prune what was not used for longest; verify every file by its hash; clear all",
    )
    add_store(verb)
    verb.add_argument("--size", default="10 GB", help="what `prune` leaves at most, such as '2 GB' (10 GB)")


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0; 1 where `verify` found damage; 2 for wrong use."""
    from weighbridge.core.errors import UsageError
    from weighbridge.core.units import parse, show

    store = _opened(arguments.store)
    if arguments.action == "show":
        print(_table(store))
    elif arguments.action == "prune":
        try:
            limit = parse(arguments.size, "bytes")
        except ValueError as error:
            raise UsageError(f"--size: {error}") from None
        count, freed = store.prune(limit)
        print(f"removed {count} entries, {show(freed, 'bytes')}")
    elif arguments.action == "verify":
        damaged = store.verify()
        print("\n".join(damaged) or f"{sum(1 for _ in store.entries())} entries are what was written")
        return 1 if damaged else 0
    else:
        print(f"removed {store.clear()} entries")
    return 0


def _opened(place: str) -> Store | ObjectStore:
    """Raises `UsageError` where there is none."""
    from weighbridge.core.errors import UsageError
    from weighbridge.core.urls import is_url
    from weighbridge.run.object_store import ObjectStore
    from weighbridge.run.store import Store

    if is_url(place):
        beyond = ObjectStore(place)
        beyond.begin()
        return beyond
    if not Path(place).is_dir():
        raise UsageError(f"there is no store {place}; name its folder or address with --store")
    return Store(Path(place))


def _table(store: Store | ObjectStore) -> str:
    from tabulate import tabulate

    from weighbridge.core.units import show
    from weighbridge.run.store import Store

    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for key, size, used in store.entries():
        found[key.partition("-")[0]].append((size, used))
    rows = [
        [
            _KINDS.get(kind, kind),
            len(entries),
            show(sum(size for size, _ in entries), "bytes"),
            datetime.fromtimestamp(max(used for _, used in entries)).isoformat(" ", "minutes"),
        ]
        for kind, entries in sorted(found.items())
    ]
    compiled = store.compiled_bytes() if isinstance(store, Store) else 0
    rows += [["compiled by torch", "", show(compiled, "bytes"), ""]] if compiled else []
    total = compiled + sum(size for entries in found.values() for size, _ in entries)
    table = tabulate(
        rows,
        ["", "entries", "size", "last used" if isinstance(store, Store) else "last made"],
        colalign=("left", "right", "right", "left"),
    )
    place = store.folder if isinstance(store, Store) else store.address
    return f"{table}\n\n{show(total, 'bytes')} in {place}" if rows else f"{place} is empty"
