"""Whether a converted `.tflite` computes what the model it came from computes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.errors import StageError, Unavailable
from weighbridge.formats.tflite_file import INSTALL
from weighbridge.quiet import quiet

if TYPE_CHECKING:
    from weighbridge.contracts import Inputs

TOLERANCE = 1e-3
"""Of the largest output: float32 sums in another order differ by about 1e-6 of it, a wrong layout by about 1."""
