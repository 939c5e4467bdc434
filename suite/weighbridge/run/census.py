"""What a step changed, counted. A step that changed nothing is an error: peers return the float model and call it quantized."""

from __future__ import annotations

import hashlib

from weighbridge.contracts import FORMATS, Model, Step
from weighbridge.core.coverage import Coverage
from weighbridge.core.errors import StageError
from weighbridge.core.results import Census


def take_census(model: Model) -> Census:
    """Count what stands in `model`."""
    import numpy as np

    format_ = FORMATS.get(model.format)
    parameters = nonzero = quantized = stored = saved = 0
    sha = hashlib.sha256()
    for tensor in format_.tensors(model):
        stored += tensor.stored_bytes
        if tensor.quantization is not None:
            quantized += 1
            saved += max(0, 32 - tensor.quantization.bits)  # int16x8 keeps 64-bit biases beside 8-bit weights
        sha.update(np.ascontiguousarray(tensor.array).tobytes())
        if tensor.is_matrix and not tensor.unread:
            parameters += tensor.array.size
            nonzero += tensor.nonzero()
    digest, operators = sha.hexdigest()[:16], format_.operators(model)
    return Census(parameters, nonzero, quantized, stored, digest, operators, saved)


def check_changed(step: Step, before: Census, after: Census, coverage: Coverage | None = None) -> None:
    """Raise `StageError` unless the census shows what `step.must` promises, with why layers stay in float where it is known."""
    name = f"{step.kind}: {step.method}"
    if step.must == "sparsify" and after.nonzero >= before.nonzero and after.parameters >= before.parameters:
        raise StageError(
            step.kind,
            f"the step changed nothing: {before.nonzero} of {before.parameters} weights were not zero before it, "
            f"{after.nonzero} after it",
            name,
        )
    if step.must == "quantize" and after.saved_bits <= before.saved_bits:
        why = "; ".join(coverage.sentences() if coverage else ())
        raise StageError(
            step.kind,
            "the step changed nothing: no weight is stored in fewer bits than before "
            + (f"({why})" if why else f"({after.quantized} quantized tensors; operators: {_names(after)})"),
            name,
        )
    if step.must == "change" and after.digest == before.digest and after.operators == before.operators:
        raise StageError(step.kind, "the step changed nothing: every weight is what it was before", name)


def _names(census: Census) -> str:
    return ", ".join(
        f"{count} {name}" for name, count in sorted(census.operators.items(), key=lambda item: -item[1])[:8]
    )
