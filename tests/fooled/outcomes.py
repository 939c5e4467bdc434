"""A finished file held to one case of every limit that it can be held to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from candidates import float_model
from tests.projects import Weighed, samples, weigh

from weighbridge.core.results import Status

CASE = """
model: {onnx: net.onnx}
candidate: {onnx: candidate.onnx}
data: samples.npz
thresholds:
  accuracy: 0.85
  accuracy_drop: 0.02
  fidelity: 20
  size: 25 kB
  size_ratio: 2
  gzip_ratio: 1.5
  weights_ratio: 2.5
  largest_tensor: 10 kB
  parameters: 11500
  nonzero: 5800
  nonzero_ratio: 0.55
  quantized: {min: 1, bits: 8, granularity: per_channel, symmetric: true}
  operators: {denied: [If, Loop, Dropout]}
  domains: {allowed: [ai.onnx]}
  dtypes: {denied: [float64, float16]}
  opset: 17
  batch_invariance: 1e-4
  permutation_invariance: 1e-4
  determinism: 1e-4
"""


def outcome(folder: Path, candidate: bytes, case: str = CASE) -> Weighed:
    onnx.save(float_model(), folder / "net.onnx")
    (folder / "candidate.onnx").write_bytes(candidate)
    (test_x, test_y) = samples(2, 400)
    np.savez(folder / "samples.npz", test_x=test_x, test_y=test_y)
    return weigh(folder, case, also=())


def failing(found: Weighed) -> set[str]:
    assert found.result.stage == "done", found.result.message
    assert not found.failed, found.failed
    return {verdict.threshold for verdict in found.result.verdicts if verdict.status is Status.FAIL}
