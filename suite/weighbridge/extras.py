"""The packages behind the extras `litert`, `litert-torch` and `tensorflow`, and how each is asked for."""

from __future__ import annotations

from weighbridge.contracts import Requirement
from weighbridge.errors import Unavailable


def _of(extra: str, package: str) -> Requirement:
    return Requirement("package", package, f"pip install 'weighbridge[{extra}]'")


LITERT = _of("litert", "ai_edge_litert")
LITERT_QUANTIZER = _of("litert", "ai_edge_quantizer")
LITERT_TORCH = _of("litert-torch", "litert_torch")
TENSORFLOW = _of("tensorflow", "tensorflow")
TF_KERAS = _of("tensorflow", "tf_keras")
TFMOT = _of("tensorflow", "tensorflow_model_optimization")


def unavailable(requirement: Requirement, what: str) -> Unavailable:
    """What to raise where a package turns out to be absent only when it is used."""
    return Unavailable(f"{what} needs the package '{requirement.name}', which is absent here; "
                       f"install it with: {requirement.install}")  # fmt: skip
