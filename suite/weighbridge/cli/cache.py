"""`weighbridge cache`: the store of results that were made once."""

from __future__ import annotations

import argparse
from collections import defaultdict
from datetime import datetime
from typing import Any

from weighbridge.cli.verbs import add_store, add_verb

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
    from weighbridge.run.store import Store

    if not arguments.store.is_dir():
        raise UsageError(f"there is no store {arguments.store}; name its folder with --store")
    store = Store(arguments.store)
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


def _table(store: Any) -> str:
    from tabulate import tabulate

    from weighbridge.core.units import show

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
    compiled = store.compiled_bytes()
    rows += [["compiled by torch", "", show(compiled, "bytes"), ""]] if compiled else []
    total = compiled + sum(size for entries in found.values() for size, _ in entries)
    table = tabulate(rows, ["", "entries", "size", "last used"], colalign=("left", "right", "right", "left"))
    return f"{table}\n\n{show(total, 'bytes')} in {store.folder}" if rows else f"{store.folder} is empty"
