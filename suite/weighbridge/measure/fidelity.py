"""How close the candidate's outputs are to the baseline's: signal to quantization noise, in dB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from weighbridge.contracts import MEASURES, THRESHOLDS, Array, Inputs, Limit, Measure, Threshold, Weighing
from weighbridge.core.batches import count, not_finite, take
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.results import Measurement, Reading

SAMPLES = 256
IDENTICAL = 200.0  # dB: float32 cannot tell more apart


def measure(weighing: Weighing) -> Measurement:
    """10 log10(sum(reference^2) / sum((reference - output)^2)) of up to 256 samples, batch by batch: over all outputs,
    or of the worst, whichever is less. In the sum alone a large output would hide that a small one is lost.
    """
    baseline, candidate = weighing.sessions()
    assert baseline is not None  # `needs` says so
    sums: list[list[tuple[float, float]]] = []
    samples = blind = 0
    for inputs in _batches(weighing.data):
        theirs, ours = baseline.run(inputs), candidate.run(inputs)
        if [a.shape for a in theirs] != [a.shape for a in ours]:
            raise StageError(
                "measure",
                f"the candidate's outputs have shapes {[a.shape for a in ours]}, the baseline's "
                f"{[a.shape for a in theirs]}",
            )
        sums.append([_signal_and_noise(a, b) for a, b in zip(theirs, ours, strict=True)])
        samples += count(inputs)
        blind += int(not_finite(inputs).sum())
    outputs = [
        (sum(signal), sum(noise))
        for signal, noise in (zip(*each, strict=True) for each in zip(*sums, strict=True))
    ]
    signal, noise = (sum(each) for each in zip(*outputs, strict=True))
    if not np.isfinite(signal) and blind:
        raise StageError(
            "data",
            f"{blind} of {samples} samples hold NaN or infinity, and so do the baseline's outputs; there is no "
            "signal to compare with",
        )
    if not np.isfinite(signal) or signal == 0:
        raise StageError(
            "measure",
            f"the baseline's outputs are {'all zero' if signal == 0 else 'not finite'}, so there is no signal to compare with",
        )
    value = min(_decibels(*each) for each in ((signal, noise), *outputs) if each[0] > 0)
    details = {"samples": samples, "identical": noise == 0, "inputs": weighing.data.kind}
    return Measurement("fidelity", "dB", value, None, details)


def _signal_and_noise(reference: Array, output: Array) -> tuple[float, float]:
    difference = reference.astype(np.float64) - output
    return float(np.square(reference, dtype=np.float64).sum()), float(np.square(difference).sum())


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return IDENTICAL
    return min(10 * float(np.log10(signal / noise)), IDENTICAL) if np.isfinite(noise) else -IDENTICAL


def _batches(data: Data) -> Iterator[Inputs]:
    if data.invented:
        yield data.sample(SAMPLES)
        return
    seen = 0
    for inputs, _ in data.split("test").batches():
        yield take(inputs, slice(SAMPLES - seen))
        seen += count(inputs)
        if seen >= SAMPLES:
            return


def read(measurement: Measurement, limit: Limit) -> Reading:
    """Noise is no data: a figure on random inputs says so beside its verdict."""
    drawn = measurement.details.get("inputs") == "random"
    return Reading(measurement.candidate, note="measured on random inputs, not on data" if drawn else "")


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
