"""Fixtures that several folders use."""

from __future__ import annotations

import onnx  # noqa: F401  (pytester forgets what a test imports, and native modules do not survive a second import)
import onnxruntime  # noqa: F401
import safetensors.torch  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch  # noqa: F401
