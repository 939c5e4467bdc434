"""Reports as runs would leave them, for histories of any length."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2026, 1, 1, tzinfo=UTC)
FIRST, SECOND = "Example CPU, 2 cores, isa 000000", "Another CPU, 8 cores, isa ffffff"
CASE = "cases/net.yaml::net"


def measured(
    accuracy: float | None = 0.97, size: int = 10_000, ratio: float | None = None, samples: int = 1000
) -> dict[str, Any]:
    """The measurements of a row, as far as a history reads them."""
    found: dict[str, Any] = {
        "size": {
            "unit": "bytes",
            "baseline": 40_000,
            "candidate": size,
            "details": {"candidate": {"file": size, "weights": size - 500, "widest": [["a", 1]]}},
        }
    }
    if accuracy is not None:
        right = round(accuracy * samples)
        details = {"metric": "accuracy", "n": samples, "right": right, "b": 20, "c": 10, "samples": "s1"}
        details |= {"drop": 0.98 - right / samples, "higher_is_better": True, "by_sample": [1] * samples}
        found["accuracy"] = {
            "unit": "fraction",
            "baseline": 0.98,
            "candidate": right / samples,
            "details": details,
        }
    if ratio is not None:
        details = {"ratio": ratio, "interval": [ratio * 0.99, ratio * 1.01], "confidence": 0.99}
        details |= {"threads": 1, "batch": 1, "engine": "onnxruntime", "ratios": [ratio] * 40}
        found["speed"] = {"unit": "ms", "baseline": ratio, "candidate": 1.0, "details": details}
    return found


def row(case: str = CASE, status: str = "pass", **numbers: Any) -> dict[str, Any]:
    path, _, name = case.partition("::")
    files = [{"path": "model.onnx", "bytes": 40_000, "sha256": "0" * 64}]
    size = numbers.get("size", 10_000)
    candidate = [{"path": "model.onnx", "bytes": size, "sha256": f"{size:064x}"}]
    return {
        "case": case,
        "name": name,
        "key": None,
        "path": path,
        "line": 1,
        "status": status,
        "stage": "done",
        "message": "",
        "seconds": 1.5,
        "engine": "onnxruntime",
        "inputs": "data",
        "steps": [],
        "artifacts": {
            "baseline": {"format": "onnx", "files": files},
            "candidate": {"format": "onnx", "files": candidate},
        },
        "measurements": measured(**numbers),
        "verdicts": [],
        "layer_errors": None,
        "notes": [],
    }


def report(number: int, *rows: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """Run `number`, an hour after the one before; `facts` take the place of the report's own."""
    return {
        "schema": 2,
        "created": (START + timedelta(hours=number)).isoformat(timespec="milliseconds"),
        "run": f"{number:032x}",
        "commit": f"{(number + 1) * 0x9E3779B1 % 2**32:08x}{number:032x}",
        "branch": "main",
        "dirty": False,
        "machine": {"cpu": "Example CPU", "isa": [], "cores": 2},
        "machine_class": FIRST,
        "versions": {"weighbridge": "0.1.0"},
        "options": {"bench": True},
        "rows": list(rows) or [row()],
        **facts,
    }
