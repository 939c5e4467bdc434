"""What a SavedModel says, looked at before TensorFlow opens it: operators of its graph read and write files, and the
configuration of its layers can be code.

Sources: https://github.com/tensorflow/tensorflow/tree/master/tensorflow/core/protobuf and .../core/framework (the numbers
of the fields), https://protobuf.dev/programming-guides/encoding (how they are written).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from weighbridge.core.errors import StageError
from weighbridge.core.trust import is_trusted, refusal
from weighbridge.formats.keras_archive import check_configuration

_LEADS_OUT = re.compile(
    "File|Reader|Record|Dataset|PyFunc|Rpc|Debug|Dump|Summary|Save|Restore|Checkpoint|Proto|Load|Vocab|TRT|Print|Remote"
    "|ImmutableConst|FixedUnigramCandidateSampler|Skipgram"
)
"""In the names of TensorFlow's operators that read or write files, reach other machines, or call Python: none computes a
model's answer."""
_OWN = frozenset(("SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"))
"""Every SavedModel has them in the two functions by which TensorFlow saves and restores it, and which nothing else calls."""
_VARINT, _I64, _BYTES, _I32 = 0, 1, 2, 5


def check_saved_model(folder: Path) -> None:
    """Raises `StageError` where the graph leads out of itself or a layer is code, unless that file is trusted."""
    graph = folder / "saved_model.pb"
    if not is_trusted(graph):
        for meta_graph in _each(_read(graph), 2):
            _check_graph(meta_graph, graph)
    layers = folder / "keras_metadata.pb"
    if layers.is_file() and not is_trusted(layers):
        for text in _each(_read(layers), 1, 5):
            try:
                configuration = json.loads(text)
            except (ValueError, RecursionError):
                raise StageError("load", f"{layers.name} is damaged: a configuration is no JSON") from None
            check_configuration(configuration, layers)


def _check_graph(meta_graph: bytes, path: Path) -> None:
    objects = b"".join(_each(meta_graph, 7))
    gradients = [*_each(meta_graph, 2, 2, 2), *_each(meta_graph, 2, 2, 3)]
    functions = [(_name(one), one) for one in _each(meta_graph, 2, 2, 1)]
    if len(dict(functions)) < len(functions):
        raise StageError("load", f"{path.name} is damaged: two functions of its graph have one name")
    for operator in _each(meta_graph, 2, 1, 2):
        _check_operator(operator.decode(errors="replace"), path)
    for name, function in functions:
        others = (other for called, other in functions if called != name)
        alone = bool(objects) and not any(name in caller for caller in (objects, *gradients, *others))
        for operator in _each(function, 3, 2):
            if not (alone and operator.decode(errors="replace") in _OWN):
                _check_operator(operator.decode(errors="replace"), path)


def _name(function: bytes) -> bytes:
    """What calls it says; of several names TensorFlow takes the last."""
    names = [*_each(function, 1, 1)]
    if len(names) != 1:
        raise StageError(
            "load", f"a function of the SavedModel's graph has {len(names)} names instead of one"
        )
    return names[0]


def _check_operator(operator: str, path: Path) -> None:
    if _LEADS_OUT.search(operator):
        raise refusal(path, f"its graph has the operator {operator[:80]}, which no model needs to answer")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StageError("load", f"{path} cannot be read: {error.strerror}") from error


def _each(message: bytes, number: int, *inner: int) -> Iterator[bytes]:
    """The messages and texts in the field `number`, or in fields of those; raises `StageError` where it is no message."""
    for found, value in _fields(message):
        if found == number and inner:
            yield from _each(value, *inner)
        elif found == number:
            yield value


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields that have a length, by their numbers; all others are none of a text or message to TensorFlow either."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if key >> 32:  # a reader that keeps 32 bits of it would see another field
            raise StageError("load", "a part of the SavedModel is damaged: a field's number is too large")
        if kind == _VARINT:
            _, at = _varint(message, at)
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_I64, _I32):
            size = 8 if kind == _I64 else 4
        else:
            raise StageError("load", "a part of the SavedModel is damaged: it is no protobuf message")
        if at + size > len(message):
            raise StageError("load", "a part of the SavedModel is damaged: it is truncated")
        if kind == _BYTES:
            yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at == len(message):
            break
        value |= (message[at] & 0x7F) << shift
        at += 1
        if not message[at - 1] & 0x80:
            return value, at
    raise StageError("load", "a part of the SavedModel is damaged: it is truncated")
