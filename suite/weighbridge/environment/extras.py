"""The packages behind the extras of steps and engines, and how each is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType

from weighbridge.contracts import Requirement
from weighbridge.core.errors import Unavailable
from weighbridge.environment.requirements import found_version, missing


def _of(extra: str, package: str, version: str) -> Requirement:
    return Requirement("package", package, f"pip install 'weighbridge[{extra}]'", version)


LITERT = _of("litert", "ai_edge_litert", "2.0")
LITERT_QUANTIZER = _of("litert", "ai_edge_quantizer", "0.10")
LITERT_TORCH = _of("litert-torch", "litert_torch", "0.10")
TORCH_PRUNING = _of("pruning", "torch_pruning", "1.6")
TORCHAO = _of("torchao", "torchao", "0.18")
MLFLOW = _of("mlflow", "mlflow", "3.0")
MODEL_SIGNING = _of("model-signing", "model_signing", "1.1")
OPENVINO = _of("openvino", "openvino", "2025.0")
OPTUNA = _of("search", "optuna", "5.0")
RAY = _of("ray", "ray", "2.40")
S3FS = _of("s3", "s3fs", "2024.2")
TENSORFLOW = _of("tensorflow", "tensorflow", "2.16")
TF_KERAS = _of("tensorflow", "tf_keras", "2.16")
TFMOT = _of("tensorflow", "tensorflow_model_optimization", "0.8")


def load(requirement: Requirement, module: str = "", needs: Sequence[str] = ()) -> ModuleType:
    """Import the package, or `module` inside it.

    Raises `Unavailable`, naming the package, the version found and the one needed, where it is absent, too
    old, or lacks one of the attributes `needs`.
    """
    problem = missing(requirement)
    if problem is not None:
        raise Unavailable(problem)
    try:
        imported = importlib.import_module(module or requirement.name)
    except ImportError as error:
        raise Unavailable(
            f"the package '{requirement.name}' is installed but cannot be imported: {error}"
        ) from error
    for name in needs:
        demand(imported, name, requirement)
    return imported


def demand(owner: object, name: str, requirement: Requirement) -> None:
    """Raise `Unavailable` where `owner` has no attribute `name`: what an outdated or partial package looks
    like.
    """
    if not hasattr(owner, name):
        what = getattr(owner, "__name__", type(owner).__name__)
        found = found_version(requirement.name) or "of unknown version"
        raise Unavailable(
            f"{what} has no '{name}': the package '{requirement.name}' is {found} here, and "
            f"{requirement.version} or later is needed; install it with: {requirement.install}"
        )
