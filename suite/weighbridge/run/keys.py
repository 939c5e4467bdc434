"""What a stage is called in the store: a hash of everything that its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weighbridge.case.model import Case
from weighbridge.contracts import FORMATS, METRICS, Model
from weighbridge.core.batches import Fingerprint
from weighbridge.core.code import code_digest, module_files, own_digest
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.registry import Registry
from weighbridge.core.results import to_json
from weighbridge.core.versions import version_of
from weighbridge.environment import machine

PACKAGES = (
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "onnxscript",
    "numpy",
    "scipy",
    "torch_pruning",
    "torchao",
    "litert_torch",
    "ai_edge_litert",
    "ai_edge_quantizer",
    "tensorflow",
    "tensorflow_model_optimization",
    "tf_keras",
)
"""What steps, conversions and engines call: another version of one of them may give another result."""
SAMPLES = 16
"""What a step or a conversion looks at without declaring a split."""
MOST_SAMPLES = 256
"""What a measurement looks at without declaring a split."""


def make_key(*parts: Any) -> str:
    """A key of 32 hexadecimal digits; JSON data, in order."""
    text = json.dumps([to_json(part) for part in parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def surroundings() -> str:
    """Our own code and the versions of the packages that it calls."""
    return make_key(own_digest(), [version_of(package) for package in PACKAGES])


def extension_code(registry: Registry[Any], name: str, root: Path) -> str:
    """The code of what a user registered; empty for what Weighbridge brings itself."""
    file = registry.file_of(name)
    return code_digest([Path(file)], root) if file else ""


def reference_code(reference: str, folder: Path, root: Path) -> str:
    """The code behind `model.py:net` or `package.module:net`, and the name; of an installed package its version.

    What two callables of one file build may have the same weights and layers, and compute otherwise.
    """
    location, _, name = reference.rpartition(":")
    if location.endswith(".py"):
        return make_key(code_digest([folder / location], root), name)
    if not all(part.isidentifier() for part in location.split(".")):
        return ""
    files = module_files(location, folder, root)
    return make_key(code_digest(files, root) if files else version_of(location.partition(".")[0]), name)


def named_code(options: Any, folder: Path, root: Path) -> list[str]:
    """The code behind every reference among a step's options, such as `loss: losses.py:focal`."""
    if isinstance(options, dict):
        options = list(options.values())
    if isinstance(options, list):
        return [digest for option in options for digest in named_code(option, folder, root)]
    if isinstance(options, str) and ":" in options:
        return [reference_code(options, folder, root)]
    return []


def metric_code(case: Case, root: Path) -> str:
    """The code behind the case's metric."""
    name = case.metric
    if isinstance(name, Mapping):
        return make_key(named_code(dict(name), case.folder, root))
    if name is None or ":" not in name:
        return extension_code(METRICS, name or "accuracy", root)
    return reference_code(name, case.folder, root)


def goal_key(case: Case, root: Path) -> str:
    """What a step with `aims` works towards: the metric and every threshold."""
    limits = {ref.name: ref.limit.model_dump(mode="json") for ref in case.thresholds}
    return make_key(case.metric, metric_code(case, root), limits)


def machine_key() -> str:
    """The instruction sets that engines choose kernels by: int8 may saturate on one machine and not on another."""
    return make_key(machine.instruction_sets())


def file_key(digests: Mapping[Path, str]) -> str:
    """Of finished files, by the SHA-256 of each: their names, which one may hold of another, and their contents."""
    return make_key("file", [(path.name, digest) for path, digest in digests.items()])


def model_key(model: Model, code: str, opened: Mapping[str, str]) -> str:
    """Of a model that code built: every weight, its structure as it prints itself, the code, and files that it read.

    Our own code is in it too: it says how such a model is saved.
    """
    import numpy as np

    format_, sha = FORMATS.get(model.format), hashlib.sha256()
    for tensor in format_.tensors(model):
        sha.update(f"{tensor.name} {tensor.dtype} {tensor.array.shape}".encode())
        sha.update(np.ascontiguousarray(tensor.array).data)
    structure = [dict(format_.operators(model)), format_.structure(model)]
    return make_key("model", model.format, sha.hexdigest(), structure, code, dict(opened), surroundings())


def data_key(data: Data, splits: Sequence[str], samples: int = SAMPLES) -> list[str]:
    """The content of the splits that a stage declares, and of what any stage may look at: samples, and which axes vary."""
    try:
        looked_at = data.sample(samples)
    except StageError:  # nothing to look at: a stage that needs it says so
        return []
    fingerprint = Fingerprint()
    fingerprint.add(looked_at, None)
    return [
        make_key(fingerprint.hexdigest(), sorted(data.varying().items())),
        *([data.digest(splits)] if splits else []),
    ]


def stage_seed(seed: int, chain: Sequence[Any]) -> int:
    """The seed of a stage: of the case's seed and the recipe up to it.

    Neither versions nor code nor data are in it, and of options those that the case states, so that an edited comment, a new
    package or an option that a step has gained trains as before.
    """
    return int(make_key(seed, *chain)[:8], 16)
