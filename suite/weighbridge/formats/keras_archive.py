"""What a `.keras` archive says, looked at before Keras opens it: a Lambda layer is code, and so is what it would import."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from weighbridge.core.errors import StageError, first_line
from weighbridge.core.trust import refusal
from weighbridge.formats.archive import FLOOR, TIMES, content, members

_LIBRARIES = ("keras", "tf_keras")
_ROOMS = frozenset((
    "activations", "applications", "backend", "constraints", "dtype_policies", "engine", "initializers", "layers", "losses",
    "metrics", "mixed_precision", "models", "ops", "optimizers", "quantizers", "random", "regularizers", "trainers",
))  # fmt: skip
"""Where Keras keeps what models are made of; elsewhere it has functions that fetch, unpack and load files, and its settings."""
_KINDS = frozenset(("__lambda__", "Lambda", "TorchModuleWrapper", "TFSMLayer", "FlaxLayer", "JaxLayer"))
"""Layers that hold code, or the name of something that is loaded as code."""
_FILES = ("vocabulary", "filepath")
"""Options of layers that name a file, where they are text."""
_DEEP = 200


def keras_generation(path: Path) -> int:
    """The generation of Keras that wrote the archive, 2 or 3; raises `StageError` where it is none."""
    try:
        return int(_read(path, "metadata.json")["keras_version"].partition(".")[0])
    except (KeyError, TypeError, AttributeError, ValueError):
        raise StageError("load", f"{path.name} is no .keras file: it does not say its version") from None


def check_keras(path: Path) -> None:
    """Raises `StageError` where the archive holds what is code to Keras; nothing in it is imported or evaluated."""
    check_configuration(_read(path, "config.json"), path)
    check_weights(path)


def _read(path: Path, name: str) -> Any:
    if name not in members(path):
        raise StageError("load", f"{path.name} is no .keras file: it has no {name}")
    try:
        return json.loads(content(path, name))
    except (ValueError, RecursionError):
        raise StageError("load", f"{path.name} is no .keras file: its {name} is no JSON") from None


def check_configuration(value: Any, path: Path, depth: int = 0) -> None:
    """Raises `StageError` where layers as Keras describes them hold code, or name what would be imported or read."""
    if depth > _DEEP:
        raise StageError("load", f"{path.name} is not opened: nested more than {_DEEP} levels deep")
    if isinstance(value, dict):
        kind, module = value.get("class_name"), value.get("module")
        if isinstance(kind, str) and kind.rpartition(">")[2] in _KINDS:
            raise refusal(path, f"it holds a {kind}, which is code")
        if isinstance(kind, str) and isinstance(module, str) and not _is_part(kind, module):
            raise refusal(path, f"its {kind} would be imported from {module}")
        for option in _FILES:
            if isinstance(value.get(option), str):
                raise refusal(path, f"its {option} is read from the file {value[option][:200]!r}")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_configuration(item, path, depth + 1)


def _is_part(kind: str, module: str) -> bool:
    """Whether a model's part of that class, or a function of Keras's own, is what is named."""
    library, *rooms = module.split(".")
    if library == "tensorflow_model_optimization":
        return True
    if library == "builtins":
        return kind == "function"  # Keras looks for it among its own
    inner = [room for room in rooms if room != "src"]
    return library in _LIBRARIES and (not inner or inner[0] in _ROOMS)


def check_weights(path: Path) -> None:
    """Raises `StageError` where the archive's weights lead out of it, or claim to be more than it holds."""
    for name in members(path):
        if name.endswith(".h5"):
            import h5py

            raw = content(path, name)
            try:
                with h5py.File(io.BytesIO(raw)) as file:
                    _check_group(file, path, max(FLOOR, TIMES * len(raw)))
            except (OSError, RuntimeError, KeyError, ValueError) as error:
                raise StageError("load", f"{path.name} is damaged: {name}: {first_line(error)}") from error


def _check_group(group: Any, path: Path, most: int) -> int:
    """Bytes of the numbers in it, at most `most`."""
    import h5py

    taken = 0
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise StageError("load", f"{path.name} is not opened: its weights '{name}' are a link")
        held = group[name]
        if isinstance(held, h5py.Group):
            taken += _check_group(held, path, most - taken)
            continue
        if held.external or held.is_virtual:
            raise StageError("load", f"{path.name} is not opened: its weights '{name}' stand in another file")
        taken += held.nbytes
        if taken > most:
            raise StageError("load", f"{path.name} is not opened: its weights claim to be {taken:,} bytes")
    return taken
