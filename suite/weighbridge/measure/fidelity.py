"""How close the candidate's outputs are to the baseline's: signal to quantization noise, in dB."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.contracts import MEASURES, THRESHOLDS, Limit, Measure, Threshold, Weighing
from weighbridge.core.batches import count, not_finite
from weighbridge.core.errors import StageError
from weighbridge.core.results import Measurement, Reading
from weighbridge.core.signal_to_noise import SignalToNoise, batches_of
from weighbridge.measure.mistakes import decibels

SAMPLES = 256


def measure(weighing: Weighing) -> Measurement:
    """10 log10(sum(reference^2) / sum((reference - output)^2)) of each output over up to 256 samples; the worst counts.

    One sum over all outputs would hide an output that is ruined behind another whose numbers are larger. An output of
    the baseline's that is all zero has no signal to compare with, and is left out where another has one.
    """
    baseline, candidate = weighing.sessions()
    assert baseline is not None  # `needs` says so
    noise = SignalToNoise()
    samples = blind = 0
    for inputs in batches_of(weighing.data, SAMPLES):
        noise.add(baseline.run(inputs), candidate.run(inputs))
        samples += count(inputs)
        blind += int(not_finite(inputs).sum())
    if not noise.finite and blind:
        raise StageError(
            "data",
            f"{blind} of {samples} samples hold NaN or infinity, and so do the baseline's outputs; there is no "
            "signal to compare with",
        )
    worst = noise.worst()
    details = {
        "samples": samples,
        "identical": noise.identical,
        "inputs": weighing.data.kind,
        "outputs": noise.outputs(),
    }
    return Measurement("fidelity", "dB", worst, None, details)


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
    return []


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
        mistaken=decibels("fidelity"),
        advise=advise,
        doc="Signal to quantization noise of the outputs against the baseline's, in dB.",
    ),
)
