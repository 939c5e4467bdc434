"""What the bytes of an artifact are spent on. Nothing is counted twice, and the parts add up to the files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from weighbridge.contracts import StoredTensor
from weighbridge.core.results import Artifact

CAUSES = ("weights", "constants", "graph", "metadata", "unused", "dead")
"""`constants` are scales, zero points, shapes and tables of indices; `graph` is nodes, names and the container;
`metadata` is documentation that no engine reads; `unused` are tensors that no operator reads, and `dead` bytes of a data
file that no tensor points to."""


def causes(artifact: Artifact, weights: int) -> dict[str, int]:
    """Bytes by cause, of which `weights` are the artifact's weights."""
    total = sum(path.stat().st_size for path in artifact.files)
    found = (
        dict.fromkeys(CAUSES, 0)
        | {"weights": weights}
        | READERS.get(artifact.format, _none)(artifact, weights)
    )
    found["graph"] = max(total - sum(found.values()), 0)
    return found


def _none(artifact: Artifact, weights: int) -> dict[str, int]:
    return {}


def _onnx(artifact: Artifact, weights: int) -> dict[str, int]:
    import onnx

    from weighbridge.formats.onnx_flow import Flow
    from weighbridge.formats.onnx_metadata import metadata_bytes

    model = onnx.load(artifact.path, load_external_data=False)
    flow = Flow(model)
    stored = sum(constant.stored_bytes for constant in flow.constants.values())
    given = {(0, value.name) for value in model.graph.output}
    read = {key for key, readers in flow.readers.items() if readers} | given
    unused = [constant for key, constant in flow.constants.items() if key not in read and constant.tensors]
    outside, covered, dead = _data_files(artifact, flow)
    spare = sum(constant.stored_bytes for constant in unused)
    idle_weights = sum(
        constant.stored_bytes for constant in unused if constant.dtype.startswith(("float", "bfloat"))
    )
    shared = outside - covered  # tensors that point to the same bytes
    return {
        "weights": weights - idle_weights - shared,
        "constants": stored - weights - (spare - idle_weights),
        "unused": spare,
        "metadata": metadata_bytes(model),
        "dead": dead,
    }


def _data_files(artifact: Artifact, flow: Any) -> tuple[int, int, int]:
    """Of the external data files: bytes that tensors claim, bytes that they cover, and the rest."""
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    spans: dict[Path, list[tuple[int, int]]] = defaultdict(list)
    for constant in flow.constants.values():
        for tensor in constant.tensors:
            if uses_external_data(tensor):
                where = ExternalDataInfo(tensor)
                path = artifact.path.parent / where.location
                start = where.offset or 0
                spans[path].append((start, start + (where.length or path.stat().st_size - start)))
    claimed = covered = 0
    for parts in spans.values():
        reached = 0
        for start, stop in sorted(parts):
            claimed += stop - start
            covered += max(stop - max(start, reached), 0)
            reached = max(reached, stop)
    return claimed, covered, sum(path.stat().st_size for path in spans) - covered


def _tflite(artifact: Artifact, weights: int) -> dict[str, int]:
    from weighbridge.formats.tflite_file import TFLiteFile

    metadata, unused, constants = TFLiteFile(artifact.path.read_bytes()).other_buffers()
    return {"metadata": metadata, "unused": unused, "constants": max(constants - weights, 0)}


READERS: dict[str, Callable[[Artifact, int], dict[str, int]]] = {"onnx": _onnx, "tflite": _tflite}


def stored_twice(tensors: Iterable[StoredTensor]) -> list[dict[str, Any]]:
    """Matrices that hold the numbers of one before them, perhaps turned.

    Each as the first one's name, the other's (`again`) and what the second copy takes.
    """
    from weighbridge.numerics.matching import same_numbers

    seen: list[StoredTensor] = []
    found = []
    for tensor in tensors:
        first = next(
            (one for one in seen if shape_of(one) == shape_of(tensor) and same_numbers(one, tensor)), None
        )
        if first is None:
            seen.append(tensor)
        else:
            found.append({"name": first.name, "again": tensor.name, "bytes": tensor.stored_bytes})
    return found


def shape_of(tensor: StoredTensor) -> tuple[int, ...]:
    """A matrix's sizes, whichever way it is turned; empty for what is none."""
    countable = tensor.is_matrix and not tensor.unread and tensor.array.size
    return tuple(sorted(tensor.array.shape)) if countable else ()
