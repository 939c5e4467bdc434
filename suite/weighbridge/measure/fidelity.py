"""How close the candidate's outputs are to the baseline's: signal to quantization noise, in dB."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weighbridge.contracts import MEASURES, THRESHOLDS, Limit, Measure, Threshold, Weighing
from weighbridge.core.errors import StageError
from weighbridge.core.results import Measurement, Reading

SAMPLES = 256
IDENTICAL = 200.0  # dB: float32 cannot tell more apart


def measure(weighing: Weighing) -> Measurement:
    """10 log10(sum(reference^2) / sum((reference - output)^2)) over all outputs of up to 256 samples."""
    baseline, candidate = weighing.sessions()
    assert baseline is not None  # `needs` says so
    inputs = (
        weighing.data.sample(SAMPLES)
        if not weighing.data.labelled
        else weighing.data.split("test").arrays(SAMPLES)[0]
    )
    theirs, ours = baseline.run(inputs), candidate.run(inputs)
    if [a.shape for a in theirs] != [a.shape for a in ours]:
        raise StageError(
            "measure",
            f"the candidate's outputs have shapes {[a.shape for a in ours]}, the baseline's {[a.shape for a in theirs]}",
        )
    signal = sum(float(np.square(a, dtype=np.float64).sum()) for a in theirs)
    noise = sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in zip(theirs, ours, strict=True))
    if not np.isfinite(signal) or signal == 0:
        raise StageError(
            "measure",
            f"the baseline's outputs are {'all zero' if signal == 0 else 'not finite'}, so there is no signal to compare with",
        )
    value = (
        IDENTICAL
        if noise == 0
        else -IDENTICAL
        if not np.isfinite(noise)
        else min(10 * float(np.log10(signal / noise)), IDENTICAL)
    )
    return Measurement("fidelity", "dB", value, None, {"samples": len(theirs[0]), "identical": noise == 0})


def read(measurement: Measurement, limit: Limit) -> Reading:
    return Reading(measurement.candidate)


def advise(measurement: Measurement) -> Sequence[str]:
    if measurement.candidate <= 0:
        return ["the noise is as strong as the signal: the outputs are ruined or not finite"]
    return [
        "6 dB are about one bit; per_channel: true, or excluding the first and last layers, is what gains most"
    ]


MEASURES.add("fidelity", Measure("fidelity", measure, needs=("baseline", "inputs"), on_demand=True))
THRESHOLDS.add(
    "fidelity",
    Threshold(
        "fidelity",
        "fidelity",
        "min",
        "dB",
        read,
        relative=True,
        advise=advise,
        doc="Signal to quantization noise of the outputs against the baseline's, in dB.",
    ),
)
