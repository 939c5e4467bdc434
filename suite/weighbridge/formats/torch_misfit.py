"""Why a checkpoint does not fit a module, in one sentence: torch's own error lists every tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.core.listed import few

_WRAPPERS = {
    "module.": "DataParallel and DistributedDataParallel put it there: save `model.module.state_dict()`",
    "_orig_mod.": "torch.compile puts it there: save `model._orig_mod.state_dict()`",
    "model.": "a trainer that holds the network as `model` puts it there: save `trainer.model.state_dict()`",
}


def misfit(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Of both state dicts, by name; empty where names and shapes are the same."""
    lacking, extra = (
        [name for name in wanted if name not in given],
        [name for name in given if name not in wanted],
    )
    for prefix, why in _WRAPPERS.items():
        if lacking and all(prefix + name in given for name in lacking):
            return f"its names begin with '{prefix}'; {why}"
    shapes = [
        f"{name} is {list(given[name].shape)} there and {list(wanted[name].shape)} in the module"
        for name in wanted
        if name in given and getattr(given[name], "shape", None) != getattr(wanted[name], "shape", None)
    ]
    parts = [_some(shapes, "; "), _some(lacking, ", ", "it lacks "), _some(extra, ", ", "the module lacks ")]
    return "; ".join(filter(None, parts))


def _some(found: Sequence[str], between: str, before: str = "") -> str:
    return f"{before}{few(found, 3, between)}" if found else ""
