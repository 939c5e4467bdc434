"""How close the candidate's outputs are to the baseline's: signal to quantization noise, in dB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from weighbridge.contracts import MEASURES, THRESHOLDS, Inputs, Limit, Measure, Threshold, Weighing
from weighbridge.core.batches import count, not_finite, take
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.results import Measurement, Reading

SAMPLES = 256
IDENTICAL = 200.0  # dB: float32 cannot tell more apart


def measure(weighing: Weighing) -> Measurement:
    """10 log10(sum(reference^2) / sum((reference - output)^2)) of each output over up to 256 samples; the worst counts.

    One sum over all outputs would hide an output that is ruined behind another whose numbers are larger. An output of
    the baseline's that is all zero has no signal to compare with, and is left out where another has one.
    """
    baseline, candidate = weighing.sessions()
    assert baseline is not None  # `needs` says so
    signals: list[float] = []
    noises: list[float] = []
    samples = blind = 0
    for inputs in _batches(weighing.data):
        theirs, ours = baseline.run(inputs), candidate.run(inputs)
        if [a.shape for a in theirs] != [a.shape for a in ours]:
            raise StageError(
                "measure",
                f"the candidate's outputs have shapes {[a.shape for a in ours]}, the baseline's "
                f"{[a.shape for a in theirs]}",
            )
        signals = _added(signals, [np.square(a, dtype=np.float64).sum() for a in theirs])
        noises = _added(
            noises, [np.square(a.astype(np.float64) - b).sum() for a, b in zip(theirs, ours, strict=True)]
        )
        samples += count(inputs)
        blind += int(not_finite(inputs).sum())
    finite = bool(np.all(np.isfinite(signals)))
    if not finite and blind:
        raise StageError(
            "data",
            f"{blind} of {samples} samples hold NaN or infinity, and so do the baseline's outputs; there is no "
            "signal to compare with",
        )
    if not finite or not any(signals):
        raise StageError(
            "measure",
            f"the baseline's outputs are {'all zero' if finite else 'not finite'}, so there is no signal to compare with",
        )
    outputs = [_decibels(signal, noise) for signal, noise in zip(signals, noises, strict=True)]
    worst = min(value for value, signal in zip(outputs, signals, strict=True) if signal or value < 0)
    details = {
        "samples": samples,
        "identical": not any(noises),
        "inputs": weighing.data.kind,
        "outputs": outputs,
    }
    return Measurement("fidelity", "dB", worst, None, details)


def _added(total: list[float], more: Sequence[float]) -> list[float]:
    return [a + float(b) for a, b in zip(total or [0.0] * len(more), more, strict=True)]


def _decibels(signal: float, noise: float) -> float:
    """Between `-IDENTICAL` and `IDENTICAL`; an output that was all zero and is not any more is all noise."""
    if noise == 0:
        return IDENTICAL
    if signal == 0 or not np.isfinite(noise):
        return -IDENTICAL
    return min(10 * float(np.log10(signal / noise)), IDENTICAL)


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
    outputs = measurement.details["outputs"]
    if len(outputs) > 1 and measurement.candidate <= 0 < max(outputs):
        shown = ", ".join(f"{value:.3g}" for value in outputs)
        return [f"of {len(outputs)} outputs, in dB: {shown}; output {outputs.index(min(outputs))} is ruined"]
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
