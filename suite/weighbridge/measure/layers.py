"""Layer by layer: zeros, bytes, what quantizing did to the weights, and their histograms before and after."""

from __future__ import annotations

from typing import Any

import numpy as np

from weighbridge.contracts import MEASURES, Array, Measure, StoredTensor, Weighing
from weighbridge.core.results import Artifact, Measurement
from weighbridge.measure.parameters import weights

MOST = 48
"""The largest layers are described; a report stays a file that opens."""
BINS = 32


def measure(weighing: Weighing) -> Measurement:
    """One entry a weight of two or more dimensions, in the model's order, `MOST` at most."""
    after = _layers(weighing.candidate)
    before = _layers(weighing.baseline) if weighing.baseline else {}
    kept = set(sorted(after, key=lambda name: -after[name].array.size)[:MOST])
    layers = [_describe(tensor, _partner(tensor, before)) for name, tensor in after.items() if name in kept]
    details = {"layers": layers, "omitted": len(after) - len(kept)}
    return Measurement("layers", "count", len(after), len(before) if weighing.baseline else None, details)


def _layers(artifact: Artifact) -> dict[str, StoredTensor]:
    return {tensor.name: tensor for tensor in weights(artifact) if tensor.is_matrix}


def _partner(tensor: StoredTensor, before: dict[str, StoredTensor]) -> StoredTensor | None:
    """The same weight in the baseline: by name, or by the only one of its name's last part and size."""
    if tensor.name in before:
        return before[tensor.name]
    alike = [
        other
        for other in before.values()
        if other.layer == tensor.layer and other.array.size == tensor.array.size
    ]
    return alike[0] if len(alike) == 1 and tensor.layer else None


def _describe(after: StoredTensor, before: StoredTensor | None) -> dict[str, Any]:
    values = after.values().astype(np.float32)
    original = before.values().astype(np.float32) if before is not None else None
    if original is not None and original.shape != values.shape:
        original = original.T if original.T.shape == values.shape else None
    return {
        "name": after.name,
        "operator": after.operator,
        "dtype": after.dtype,
        "parameters": int(values.size),
        "nonzero": {
            "candidate": int(np.count_nonzero(values)),
            "baseline": None if before is None else before.nonzero(),
        },
        "bytes": {
            "candidate": after.stored_bytes,
            "baseline": None if before is None else before.stored_bytes,
        },
        "exact": original is not None and bool(np.array_equal(original, values)),
        "sqnr_db": None if original is None else sqnr(original, values),
        "histogram": _histogram(values, original),
    }


def sqnr(signal: Array, noisy: Array) -> float | None:
    """Signal to noise, 10 log10(sum x^2 / sum (x - y)^2), in dB; None where it is not a number."""
    power = float(np.square(signal, dtype=np.float64).sum())
    noise = float(np.square(signal.astype(np.float64) - noisy).sum())
    if not (np.isfinite(power) and np.isfinite(noise) and power > 0 and noise > 0):
        return None
    return 10 * float(np.log10(power / noise))


def _histogram(after: Array, before: Array | None) -> dict[str, Any] | None:
    """Counts in bins of equal width over both; None where a weight is not finite or all are the same."""
    both = [after] if before is None else [after, before]
    low, high = min(float(one.min()) for one in both), max(float(one.max()) for one in both)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        return None
    edges = np.linspace(low, high, BINS + 1)
    counts = [np.histogram(one, bins=edges)[0].tolist() for one in both]
    return {
        "edges": [float(f"{edge:.6g}") for edge in edges],
        "candidate": counts[0],
        "baseline": counts[1] if len(counts) > 1 else None,
    }


MEASURES.add("layers", Measure("layers", measure, on_demand=True))
