"""An artifact that was opened, kept while the same case is weighed: a model is read once, not once a measurement."""

from __future__ import annotations

import json
from collections import OrderedDict

from weighbridge.contracts import FORMATS, Model
from weighbridge.core.results import Artifact

_MOST = 2
"""Baseline and candidate."""
_kept: OrderedDict[tuple[str, int, int, str], Model] = OrderedDict()


def opened(artifact: Artifact) -> Model:
    """The model in `artifact`, which nobody may change."""
    key = _key(artifact)
    if key not in _kept:
        keep_opened(artifact, FORMATS.get(artifact.format).open(artifact))
    _kept.move_to_end(key)
    return _kept[key]


def keep_opened(artifact: Artifact, model: Model) -> None:
    """`model` is what was read of `artifact`."""
    _kept[_key(artifact)] = model
    while len(_kept) > _MOST:
        _kept.popitem(last=False)


def _key(artifact: Artifact) -> tuple[str, int, int, str]:
    stat = artifact.path.stat()
    source = json.dumps(dict(artifact.source), sort_keys=True)
    return str(artifact.path), stat.st_mtime_ns, stat.st_size, source


def forget_opened() -> None:
    """Let go of every model, once a case is done."""
    _kept.clear()
