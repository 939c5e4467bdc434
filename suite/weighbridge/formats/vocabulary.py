"""Names that a format's operators, numbers and operator sets are known by: what a name in a limit can be a misspelling of."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Any

from weighbridge.core.errors import Unavailable

DTYPES = frozenset(
    f"{kind}{bits}"
    for kind, sizes in (
        ("float", ("16", "32", "64")),
        ("bfloat", ("16",)),
        ("float8_", ("e4m3", "e4m3fn", "e4m3fnuz", "e4m3b11fnuz", "e5m2", "e5m2fnuz", "e3m4", "e8m0fnu", "e8m0")),
        ("float4_", ("e2m1", "e2m1fn", "e2m1fn_x2")),
        ("int", ("1", "2", "4", "8", "16", "32", "64")),
        ("uint", ("1", "2", "4", "8", "16", "32", "64")),
        ("complex", ("32", "64", "128")),
        ("qint", ("8", "32")),
        ("quint", ("8", "4x2", "2x4")),
    )
    for bits in sizes
) | {"bool", "string"}  # fmt: skip
DOMAINS = frozenset(
    (
        "ai.onnx",
        "ai.onnx.ml",
        "ai.onnx.training",
        "ai.onnx.preview.training",
        "ai.onnx.contrib",
        "com.microsoft",
        "com.microsoft.nchwc",
        "com.microsoft.experimental",
        "com.ms.internal.nhwc",
        "org.pytorch.aten",
        "pkg.onnxscript.torch_lib",
        "pkg.onnxscript.torch_lib.common",
    )
)


@cache
def operators(format_: str) -> Collection[str]:
    """Every operator that a format's own tools define; empty where anybody's class names one, as in torch."""
    return READERS.get(format_, frozenset)()


def _onnx() -> Collection[str]:
    import onnx
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    contributed: list[Any] = getattr(runtime, "get_all_operator_schema", list)()
    return frozenset(schema.name for schema in (*onnx.defs.get_all_schemas_with_history(), *contributed))


def _tflite() -> Collection[str]:
    from weighbridge.formats.tflite_file import operator_names

    try:
        return frozenset(operator_names())
    except Unavailable:
        return frozenset()


READERS: dict[str, Callable[[], Collection[str]]] = {"onnx": _onnx, "tflite": _tflite}
