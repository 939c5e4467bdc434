"""Made-up reports of any length, in the shape that `reports/latest.json` has."""

from __future__ import annotations

import hashlib
import math
import random
from typing import Any

from weighbridge.core.units import compared

STATUSES = ("pass", "pass", "pass", "fail", "inconclusive", "error", "skip", "xfail")


def report(count: int, seed: int = 0, layers: int = 6) -> dict[str, Any]:
    """`count` rows that differ; only the first 30 carry layers and samples."""
    chance = random.Random(seed)
    return {
        "schema": 2,
        "created": "2026-11-22T04:30:00+00:00",
        "run": "5f0c2a91",
        "commit": "4be1f0c96d",
        "machine": {
            "cpu": "Example CPU @ 2.5GHz",
            "isa": ["avx2", "avx512_vnni"],
            "cores": 2,
            "memory_bytes": 25 << 30,
            "os": "Linux 6.1",
            "load": [0.4, 0.5, 0.6],
        },
        "versions": {"python": "3.11.9", "weighbridge": "0.1.0", "torch": "2.13.0", "onnxruntime": "1.31.1"},
        "options": {"bench": True},
        "rows": [row(index, chance, layers if index < 30 else 0) for index in range(count)],
    }


def row(index: int, chance: random.Random, layers: int = 0, status: str | None = None) -> dict[str, Any]:
    status = status or STATUSES[index % len(STATUSES)]
    path, name = (
        f"cases/group{index // 40}/model.yaml",
        f"prune{index % 9}0-int{(4, 8, 16)[index % 3]}-{index}",
    )
    one: dict[str, Any] = {
        "case": f"{path}::{name}",
        "path": path,
        "name": name,
        "line": 3 + index % 7,
        "status": status,
        "stage": "done",
        "message": "",
        "seconds": round(chance.uniform(0.4, 40), 2),
        "engine": "onnxruntime",
        "key": f"{index:016x}",
        "inputs": "data",
        "steps": [],
        "artifacts": {"baseline": artifact(path), "candidate": artifact("candidate")},
        "measurements": {},
        "verdicts": [],
        "notes": [],
    }
    if status in ("error", "skip"):
        one["artifacts"] = {"baseline": None, "candidate": None}
        one["stage"] = "quantize" if status == "error" else "plan"
        one["message"] = (
            "the quantizer returned its input unchanged"
            if status == "error"
            else "onnxruntime is absent: pip install onnxruntime"
        )
        return one
    size = round(4_000_000 * math.exp(chance.uniform(-2.2, -0.5)))
    kept = {"pass": (-0.003, 0.008), "unmeasured": (-0.003, 0.008), "inconclusive": (0.008, 0.012)}
    accuracy = round(0.976 - chance.uniform(*kept.get(status, (0.02, 0.09))), 4)
    ratio = round(max(1.12, (4_000_000 / size) ** 0.6 * chance.uniform(0.7, 1.3)), 3)
    blocks = [round(ratio * (1 + chance.gauss(0, 0.01)), 4) for _ in range(120)] if layers else []
    interval = [round(ratio * 0.994, 4), round(ratio * 1.006, 4)]
    one["steps"] = [
        step("prune: l1_unstructured", 99_000, 49_500, 0),
        step("quantize: static", 49_500, 47_812, 12),
    ]
    one["measurements"] = {
        "accuracy": measurement("fraction", 0.976, accuracy),
        "size": measurement("bytes", 4_000_000, size),
        "nonzero": measurement("count", 990_000, size // 8),
        "speed": measurement(
            "ms",
            2.4,
            round(2.4 / ratio, 4),
            ratio=ratio,
            interval=interval,
            ratios=blocks,
            baseline_ms=2.4,
            candidate_ms=round(2.4 / ratio, 4),
        ),
    }
    if layers:
        one["measurements"]["layers"] = measurement(
            "layers", layers, layers, layers=[layer(n, chance) for n in range(layers)]
        )
    drop = round(0.976 - accuracy, 4)
    one["verdicts"] = [
        verdict("accuracy_drop", status, {"max": 0.01}, drop, [drop - 0.004, drop + 0.004], "points"),
        verdict("size_ratio", "pass", {"min": 1.5}, round(4_000_000 / size, 3), None, "ratio"),
        verdict("speedup", "pass", {"min": 1.1}, ratio, interval, "ratio"),
    ]
    if status == "unmeasured":
        one["verdicts"] = [
            verdict("speedup", "skip", {"min": 1.1}, None, None, "ratio") | {"message": "needs --bench"}
        ]
    return one


def settled(count: int, failing: int = 1) -> dict[str, Any]:
    """Cases that passed, but for `failing` in the middle: what a gate sees on most days."""
    one, chance = report(0), random.Random(3)
    one["rows"] = [
        row(index, chance, status="fail" if 0 <= index - count // 2 < failing else "pass")
        for index in range(count)
    ]
    return one


def heavy(count: int) -> dict[str, Any]:
    """Rows as heavy as those of real cases: what is listed by class, by sample and by layer."""
    one = report(count)
    for row in one["rows"]:
        if row["measurements"]:
            details = row["measurements"]["accuracy"]["details"]
            details["classes"] = {"total": 100, "worst": [_lost(number) for number in range(10)]}
            details["flips"] = {
                "total": 20,
                "harmful": 12,
                "helpful": 5,
                "listed": [_flip(n) for n in range(8)],
            }
            details["quantiles"] = [number / 7919 for number in range(100)]
            row["steps"][1]["coverage"] = {
                "asked": 20,
                "converted": 20,
                "layers": [
                    {"name": f"stage.conv{n}", "kind": "Conv", "asked": True, "converted": True}
                    for n in range(20)
                ],
            }
    return one


def _lost(number: int) -> dict[str, Any]:
    ends = [-0.041275401035516864, 0.08213284729551404]
    return {
        "class": number,
        "n": 65,
        "baseline": 62 / 65,
        "candidate": 61 / 65,
        "drop": 1 / 65,
        "interval": ends,
    }


def _flip(number: int) -> dict[str, Any]:
    return {"position": 97 * number, "target": 8, "before": 8, "after": 9, "harmful": True}


def sweep(down: list[str], across: list[str], name: str = "prune-int8") -> list[dict[str, Any]]:
    """The cases of a matrix over two keys."""
    chance = random.Random(7)
    rows = []
    for index, (left, right) in enumerate((left, right) for left in down for right in across):
        status = "fail" if index == len(down) * len(across) - 1 else "pass"
        path, full = "cases/digits/sweep.yaml", f"{name}-{left},{right}"
        rows.append(row(1, chance, status=status) | {"case": f"{path}::{full}", "name": full, "path": path})
    return rows


def measurement(unit: str, baseline: float, candidate: float, **details: Any) -> dict[str, Any]:
    return {"unit": unit, "baseline": baseline, "candidate": candidate, "details": details}


def artifact(of: str) -> dict[str, Any]:
    digest = hashlib.sha256(of.encode()).hexdigest()
    return {"format": "onnx", "files": [{"path": f"{digest[:6]}.onnx", "bytes": 4_000_000, "sha256": digest}]}


def verdict(
    threshold: str,
    status: str,
    limit: dict[str, Any],
    measured: float | None,
    interval: list[float] | None = None,
    unit: str = "",
) -> dict[str, Any]:
    """A verdict as a judge would give it: the margin is the distance to the nearest bound."""
    distances = [(measured or 0) - limit["min"]] if "min" in limit else []
    distances += [limit["max"] - (measured or 0)] if "max" in limit else []
    message = ""
    if status in ("fail", "inconclusive", "xfail") and measured is not None:
        message = compared(threshold, measured, limit, unit)
    return {
        "threshold": threshold,
        "line": 21,
        "column": 5,
        "status": status,
        "limit": limit,
        "measured": measured,
        "interval": interval,
        "confidence": 0.95 if interval else None,
        "sure": None if measured is None else 0.993 if interval else 1.0,
        "margin": None if measured is None else min(distances, default=None),
        "unit": unit,
        "advice": ["calibrate on more samples, or exclude the most sensitive layers"]
        if status == "fail"
        else [],
        "message": message,
    }


def step(name: str, before: int, after: int, quantized: int) -> dict[str, Any]:
    def census(nonzero: int, quantized: int) -> dict[str, Any]:
        return {
            "parameters": 99_000,
            "nonzero": nonzero,
            "quantized": quantized,
            "stored_bytes": 4 * nonzero,
            "operators": {},
        }

    return {
        "key": name.replace(": ", ":"),
        "step": name,
        "options": {},
        "seconds": 1.25,
        "cached": False,
        "before": census(before, 0),
        "after": census(after, quantized),
        "notes": [],
    }


def layer(index: int, chance: random.Random) -> dict[str, Any]:
    edges = [round(-0.4 + 0.025 * number, 4) for number in range(33)]
    bell = [int(4000 * math.exp(-((edge / 0.12) ** 2)) * chance.uniform(0.9, 1.1)) for edge in edges[:-1]]
    after = [0 if abs(edge) < 0.06 else count for edge, count in zip(edges, bell, strict=False)]
    after[16] = sum(bell) - sum(after)
    return {
        "name": f"stage{index // 2}.conv{index % 2}.weight",
        "operator": "Conv",
        "dtype": "int8",
        "parameters": sum(bell),
        "nonzero": {"baseline": sum(bell), "candidate": sum(bell) - after[16]},
        "bytes": {"baseline": 4 * sum(bell), "candidate": sum(bell)},
        "sqnr_db": round(chance.uniform(22, 41), 2),
        "exact": False,
        "histogram": {"edges": edges, "baseline": bell, "candidate": after},
    }


def odd() -> dict[str, Any]:
    """The least that the schema allows, and numbers that JSON or a logarithm lacks."""
    least = {
        **row(0, random.Random(0), status="skip"),
        "key": None,
        "engine": None,
        "path": "a.yaml",
        "line": 1,
        "stage": "done",
        "message": "",
        "seconds": 0,
        "inputs": "none",
    }
    nothing = {"line": None, "column": None, "confidence": None, "sure": None, "margin": None}
    bounds: list[dict[str, Any]] = [{"max": 5}, {"min": -1, "max": 1e30}, {"allowed": ["a", "b"]}, {}]
    values: list[Any] = [None, 0, -5, 1e300, 1e-300, 12]
    rows = []
    for index, value in enumerate(values):
        measurements = {
            "size": {"unit": "bytes", "baseline": None, "candidate": value, "details": {}},
            "accuracy": {"unit": "fraction", "baseline": value, "candidate": 0.5, "details": {}},
            "speed": measurement("ms", 1, 1, ratios=[1], ratio=1, interval=[0, None]),
        }
        verdicts = [verdict("size", "pass", limit, value) | nothing for limit in bounds]
        verdicts.append(verdict("speedup", "pass", {"max": 5}, value, [None, 3]) | nothing)
        rows.append(
            {
                **least,
                "case": f"a.yaml::{index}",
                "name": str(index),
                "status": "pass",
                "measurements": measurements,
                "verdicts": verdicts,
            }
        )
    rows.append({**least, "case": "a.yaml::none", "name": "none", "status": "unmeasured"})
    return {**report(0), "created": "not a time", "machine": {}, "versions": {}, "options": {}, "rows": rows}


def layer_errors(count: int) -> dict[str, Any]:
    """What a missed threshold on the outputs leaves in a row: `conv0` lost them."""
    layers = [
        {"name": f"conv{at}", "kind": "Conv", "sqnr_db": 3.1 if at == 0 else 30.0 + at, "place": at}
        for at in range(count)
    ]
    return {
        "step": "quantize: static",
        "line": 9,
        "samples": 64,
        "inputs": "data",
        "output_db": 3.0,
        "layers": layers,
        "complete": True,
        "exclude": ["conv0"],
        "excluded_db": 28.5,
    }
