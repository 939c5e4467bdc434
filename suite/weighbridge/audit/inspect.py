"""What is in an artifact: interface, operators, and each weight: type, bytes, zeros, quantization."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weighbridge.contracts import FORMATS
from weighbridge.core.results import Artifact, to_json
from weighbridge.core.units import show
from weighbridge.formats.finished import finished_file, reading
from weighbridge.formats.suffixes import format_of
from weighbridge.measure.contents import describe as describe_weight


def describe(path: Path) -> dict[str, Any]:
    """Everything below as JSON data; raises `StageError` for a damaged file."""
    with reading(path.name):
        found: dict[str, Any] = to_json(_described(path))
    return found


def _described(path: Path) -> dict[str, Any]:
    format_ = FORMATS.get(format_of(path))
    model = format_.load(path.name, None, path.parent)
    artifact = finished_file(model, path) or Artifact(format_.name, path, (path,))
    inputs, outputs = format_.ports(model)
    layers = [
        {
            **describe_weight(tensor),
            "shape": list(tensor.array.shape),
            "operator": tensor.operator,
            "bytes": tensor.stored_bytes,
            "nonzero": 0 if tensor.unread else tensor.nonzero(),
            "unread": tensor.unread,
        }
        for tensor in format_.tensors(model)
    ]
    return {
        "file": path.name,
        "format": format_.name,
        "files": {one.name: one.stat().st_size for one in artifact.files},
        "opsets": dict(format_.opsets(model)),
        "inputs": inputs,
        "outputs": outputs,
        "operators": dict(sorted(format_.operators(model).items(), key=lambda item: (-item[1], item[0]))),
        "dtypes": _by_dtype(layers),
        "layers": layers,
    }


def _by_dtype(layers: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Tensors, numbers, bytes and nonzeros of each data type."""
    totals: dict[str, dict[str, int]] = {}
    for one in layers:
        kind = f"{one['dtype']}, not read" if one["unread"] else one["dtype"]
        total = totals.setdefault(kind, {"tensors": 0, "numbers": 0, "bytes": 0, "nonzero": 0})
        for key, value in (("tensors", 1), *((key, one[key]) for key in ("numbers", "bytes", "nonzero"))):
            total[key] += value
    return totals


def table(found: Mapping[str, Any]) -> str:
    """`describe`'s data for a terminal."""
    from tabulate import tabulate

    from weighbridge.report.escape import terminal

    def rows(heads: list[str], lines: list[list[Any]]) -> str:
        clean = [[terminal(cell) if isinstance(cell, str) else cell for cell in line] for line in lines]
        right = [head in ("count", "tensors", "numbers", "bytes", "nonzero", "zeros") for head in heads]
        return tabulate(
            clean,
            heads,
            tablefmt="simple",
            disable_numparse=True,
            colalign=["right" if one else "left" for one in right],
        )

    files = ", ".join(f"{terminal(name)} {show(size, 'bytes')}" for name, size in found["files"].items())
    opsets = ", ".join(f"{terminal(name)} {number}" for name, number in found["opsets"].items())
    parts = [f"{found['format']}: {files}" + (f"; opset {opsets}" if opsets else "")]
    ports = [
        [kind, one["name"], one["dtype"], _shape(one["shape"])]
        for kind in ("input", "output")
        for one in found[f"{kind}s"]
    ]
    if ports:
        parts.append(rows(["", "name", "dtype", "shape"], ports))
    if found["operators"]:
        parts.append(
            rows(["operator", "count"], [[name, str(count)] for name, count in found["operators"].items()])
        )
    parts.append(
        rows(
            ["dtype", "tensors", "numbers", "bytes", "zeros"],
            [
                [name, str(one["tensors"]), f"{one['numbers']:,}", show(one["bytes"], "bytes"), _zeros(one)]
                for name, one in found["dtypes"].items()
            ],
        )
    )
    parts.append(
        rows(
            ["layer", "operator", "shape", "dtype", "bytes", "zeros", "quantized"],
            [
                [
                    one["name"],
                    one["operator"],
                    _shape(one["shape"]),
                    one["dtype"],
                    show(one["bytes"], "bytes"),
                    _zeros(one),
                    how(one),
                ]
                for one in found["layers"]
            ],
        )
    )
    return "\n\n".join(parts)


def how(one: Mapping[str, Any]) -> str:
    """How a weight is quantized, in words: `8 bits, per_channel (axis 0), symmetric`."""
    if one["unread"]:
        return f"not known: {one['unread']}"
    if one["bits"] is None:
        return "no"
    if one["scheme"] != "affine":
        return str(one["scheme"])
    where = f" of {one['group_size']}" if one["group_size"] else ""
    where += f" (axis {one['axis']})" if one["axis"] is not None else ""
    zero = "symmetric" if one["symmetric"] else "asymmetric"
    return f"{one['bits']} bits, {one['granularity']}{where}, {zero}"


def _zeros(one: Mapping[str, Any]) -> str:
    return f"{1 - one['nonzero'] / one['numbers']:.1%}" if one["numbers"] and not one.get("unread") else "-"


def _shape(shape: list[Any]) -> str:
    return "x".join(map(str, shape)) or "scalar"
