"""What a `.keras` archive says, looked at before Keras opens it: a Lambda layer is code, and so is what it would import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from weighbridge.core.errors import StageError
from weighbridge.formats.archive import content, members

_LIBRARIES = ("keras", "tf_keras", "builtins", "tensorflow_model_optimization")
_TOOLS = (
    "keras.utils",
    "keras.src.utils",
    "keras.saving",
    "keras.src.saving",
    "tf_keras.src.utils",
    "tf_keras.utils",
)
"""Where Keras keeps functions that fetch, unpack and load files: no layer is there."""
_KINDS = frozenset(("__lambda__", "Lambda", "TorchModuleWrapper", "TFSMLayer", "FlaxLayer", "JaxLayer"))
"""Layers that hold code, or the name of something that is loaded as code."""
_DEEP = 200


def check_keras(path: Path) -> int:
    """The generation of Keras that wrote the archive, 2 or 3; raises `StageError` for what Keras must not open."""
    names = members(path)
    texts = {}
    for name in ("metadata.json", "config.json"):
        if name not in names:
            raise StageError("load", f"{path.name} is no .keras file: it has no {name}")
        try:
            texts[name] = json.loads(content(path, name))
        except (ValueError, RecursionError):
            raise StageError("load", f"{path.name} is no .keras file: its {name} is no JSON") from None
    _walk(texts["config.json"], path.name, 0)
    try:
        return int(texts["metadata.json"]["keras_version"].partition(".")[0])
    except (KeyError, TypeError, AttributeError, ValueError):
        raise StageError("load", f"{path.name} is no .keras file: it does not say its version") from None


def _walk(value: Any, name: str, depth: int) -> None:
    if depth > _DEEP:
        raise StageError("load", f"{name} is not opened: nested more than {_DEEP} levels deep")
    if isinstance(value, dict):
        kind, module = value.get("class_name"), value.get("module")
        if isinstance(kind, str) and kind.rpartition(">")[2] in _KINDS:
            raise StageError("load", f"{name} is not opened: it holds a {kind}, which is code")
        if isinstance(kind, str) and isinstance(module, str) and not _is_library(module):
            raise StageError(
                "load",
                f"{name} is not opened: its {kind} would be imported from {module}; build the model by a callable, "
                "`keras: model.py:build`, whose code you trust",
            )
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _walk(item, name, depth + 1)


def _is_library(module: str) -> bool:
    return module.partition(".")[0] in _LIBRARIES and not f"{module}.".startswith(
        tuple(f"{tool}." for tool in _TOOLS)
    )
