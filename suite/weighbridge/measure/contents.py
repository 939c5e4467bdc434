"""What the artifact is made of: operators, data types, opsets, and how each weight is quantized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import Field

from weighbridge.contracts import (
    FORMATS,
    MEASURES,
    THRESHOLDS,
    Limit,
    Measure,
    StoredTensor,
    Threshold,
    Weighing,
)
from weighbridge.core.errors import StageError
from weighbridge.core.listed import few
from weighbridge.core.results import Artifact, Measurement, Reading
from weighbridge.formats.opened import opened
from weighbridge.measure.mistakes import a_fraction
from weighbridge.measure.parameters import weights
from weighbridge.numerics.codes import granularity

GRANULARITIES = ("per_tensor", "per_channel", "per_group")
"""From coarse to fine."""


class Allowed(Limit):
    """Names that may occur (`allowed`), or that may not (`denied`): the number judged is of offenders.
    Without either, all are counted.
    """

    max: float | None = 0
    allowed: list[str] | None = None
    denied: list[str] | None = None

    def offends(self, name: str) -> bool:
        if self.allowed is None and self.denied is None:
            return True
        return (self.allowed is not None and name not in self.allowed) or name in (self.denied or ())

    def __str__(self) -> str:
        parts = [f"only {', '.join(self.allowed)}"] if self.allowed is not None else []
        parts += [f"no {', '.join(self.denied)}"] if self.denied else []
        exceptions = f", {self.max:g} exceptions at most" if self.max else ""
        return " and ".join(parts) + exceptions if parts else super().__str__()


class Quantized(Limit):
    """Which quantization counts. Finer granularity and fewer bits than asked for count too."""

    min: float | None = 1.0
    bits: int = Field(8, ge=1, le=16)
    granularity: Literal["per_tensor", "per_channel", "per_group"] = "per_tensor"
    symmetric: bool | None = None

    def __str__(self) -> str:
        words = [f"{self.bits}-bit", self.granularity if self.granularity != "per_tensor" else ""]
        words.append({None: "", True: "symmetric", False: "asymmetric"}[self.symmetric])
        return f"{' '.join(filter(None, words))} {super().__str__()}"


def measure(weighing: Weighing) -> Measurement:
    details = contents(weighing.candidate)
    baseline = None
    if weighing.baseline:
        baseline = sum(FORMATS.get(weighing.baseline.format).operators(opened(weighing.baseline)).values())
    return Measurement("operators", "count", sum(details["operators"].values()), baseline, details)


def contents(artifact: Artifact) -> dict[str, Any]:
    """Operators by count, weight types by tensors, opsets by domain (ONNX only), each weight's quantization.

    Only weights of two or more dimensions are listed as quantized or not; biases stay wide by design.
    """
    format_ = FORMATS.get(artifact.format)
    model = opened(artifact)
    details: dict[str, Any] = {"format": artifact.format, "operators": dict(format_.operators(model))}
    if opsets := format_.opsets(model):
        details["opsets"] = dict(opsets)
    dtypes: Counter[str] = Counter()
    described = []
    for tensor in weights(artifact):
        dtypes[tensor.dtype] += 1
        if tensor.is_matrix:
            described.append(describe(tensor))
    return details | {"dtypes": dict(dtypes), "weights": described}


def describe(tensor: StoredTensor) -> dict[str, Any]:
    """Name, size and quantization of a weight as JSON data; `bits` is None where it is not quantized."""
    found: dict[str, Any] = {
        "name": tensor.name,
        "numbers": tensor.array.size,
        "dtype": tensor.dtype,
        "bits": None,
    }
    quantization = tensor.quantization
    if quantization is None:
        return found
    symmetric = quantization.scheme != "affine" or bool((quantization.zero_point == _middle(tensor)).all())
    return found | {
        "bits": quantization.bits,
        "scheme": quantization.scheme,
        "granularity": granularity(quantization, tensor.array.shape),
        "symmetric": symmetric,
        "axis": quantization.axis,
        "group_size": quantization.group_size,
    }


def _middle(tensor: StoredTensor) -> int:
    """The zero point of symmetric quantization: 0 for signed codes, half the range for unsigned ones."""
    assert tensor.quantization is not None
    return 1 << (tensor.quantization.bits - 1) if tensor.array.dtype.kind == "u" else 0


def read_allowed(part: str) -> Callable[[Measurement, Any], Reading]:
    """The reading of an `Allowed` limit over one of the counted parts."""

    def read(measurement: Measurement, limit: Any) -> Reading:
        offenders = {name: count for name, count in measurement.details[part].items() if limit.offends(name)}
        return Reading(
            sum(offenders.values()),
            note=few(f"{count} {name}" for name, count in sorted(offenders.items())),
        )

    return read


def read_opset(measurement: Measurement, limit: Limit) -> Reading:
    opsets = measurement.details.get("opsets")
    if opsets is None:
        raise StageError("measure", f"{measurement.details['format']} models have no opset")
    return Reading(opsets.get("ai.onnx", 0))


def read_domains(measurement: Measurement, limit: Any) -> Reading:
    opsets = measurement.details.get("opsets")
    if opsets is None:
        raise StageError("measure", f"{measurement.details['format']} models have no operator domains")
    offenders = [name for name in opsets if limit.offends(name)]
    return Reading(len(offenders), note=few(offenders))


def read_quantized(measurement: Measurement, limit: Any) -> Reading:
    """The share of weights, by numbers, that are quantized as the limit asks."""
    listed = measurement.details["weights"]
    missing = [one for one in listed if not _meets(one, limit)]
    total = sum(one["numbers"] for one in listed)
    if not total:
        raise StageError(
            "measure", "the model has no weight of two or more dimensions, so nothing to be quantized"
        )
    missing.sort(key=lambda one: -one["numbers"])
    note = few(f"'{one['name']}' is {_words(one)}" for one in missing)
    return Reading(1 - sum(one["numbers"] for one in missing) / total, note=note)


def _meets(one: dict[str, Any], limit: Quantized) -> bool:
    return (
        one["bits"] is not None
        and one["bits"] <= limit.bits
        and GRANULARITIES.index(one["granularity"]) >= GRANULARITIES.index(limit.granularity)
        and limit.symmetric in (None, one["symmetric"])
    )


def _words(one: dict[str, Any]) -> str:
    if one["bits"] is None:
        return str(one["dtype"])
    return f"{one['dtype']} {one['granularity']} {'symmetric' if one['symmetric'] else 'asymmetric'}"


def advise_quantized(measurement: Measurement) -> Sequence[str]:
    kept = [one for one in measurement.details["weights"] if one["bits"] is None]
    return [f"{len(kept)} of {len(measurement.details['weights'])} weights are not quantized"] if kept else []


MEASURES.add("operators", Measure("operators", measure))
for _threshold in (
    Threshold(
        "operators",
        "operators",
        "max",
        "count",
        read_allowed("operators"),
        options=Allowed,
        doc="Operators that are not `allowed: [...]`, or are `denied`; a number limits how many in all.",
        formats=("onnx", "tflite", "exported", "torch"),
    ),
    Threshold(
        "dtypes",
        "operators",
        "max",
        "count",
        read_allowed("dtypes"),
        options=Allowed,
        doc="Weight tensors whose type is not `allowed: [...]`, or is `denied: [...]`.",
    ),
    Threshold(
        "opset",
        "operators",
        "max",
        "",
        read_opset,
        formats=("onnx",),
        doc="The version of ONNX's own operator set.",
    ),
    Threshold(
        "domains",
        "operators",
        "max",
        "count",
        read_domains,
        options=Allowed,
        formats=("onnx",),
        doc="Operator sets that are not `allowed: [...]`; ONNX's own is called ai.onnx.",
    ),
    Threshold(
        "quantized",
        "operators",
        "min",
        "fraction",
        read_quantized,
        options=Quantized,
        mistaken=a_fraction("the share of quantized weights"),
        advise=advise_quantized,
        doc="The share of the weights that is quantized; `bits`, `granularity` and `symmetric` say how.",
    ),
):
    THRESHOLDS.add(_threshold.name, _threshold)
