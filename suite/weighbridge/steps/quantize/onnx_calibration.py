"""The calibration split as ONNX Runtime's calibrators read it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weighbridge.contracts import Array, Context
from weighbridge.formats.onnx_file import write_onnx
from weighbridge.steps.calibration import Calibration


class CalibrationReader:
    """ONNX Runtime's `CalibrationDataReader` over the calibration split: each sample is read once.

    A histogram calibrator asks by ranges, whose number it takes from `len`. A range is one batch here, and the last
    one whatever is left, since not every data source tells its length beforehand.
    """

    _feeds: Iterator[dict[str, Array]]

    def __init__(self, context: Context, model: Path, samples: int) -> None:
        from weighbridge.engines.onnxruntime import OnnxRuntimeSession
        from weighbridge.engines.sequences import SteppedSession

        layout, step = context.data.layout, OnnxRuntimeSession(str(model))
        session = SteppedSession(step) if layout.sequence else step
        batches, least = Calibration(context, samples, step.fixed_batch(layout.axes)).batches()
        feeds = (feed for batch in batches for feed in session.feeds(batch))
        if layout.sequence:  # as many feeds as steps, which only reading tells
            least = None
        if least is None:
            known = list(feeds)
            self._feeds, self._length = iter(known), len(known)
        else:
            self._feeds, self._length = feeds, least
        self._left: float = math.inf

    def __len__(self) -> int:
        return self._length

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = 1 if end_index < self._length else math.inf

    def get_next(self) -> dict[str, Array] | None:
        if not self._left:
            return None
        self._left -= 1
        return next(self._feeds, None)


def try_samples(proto: Any, context: Context) -> None:
    """Raise `StageError` where the samples do not go through the float model either."""
    from weighbridge.engines.onnxruntime import OnnxRuntimeSession
    from weighbridge.engines.sequences import SteppedSession

    with tempfile.TemporaryDirectory(dir=context.workdir) as folder:
        path = Path(folder) / "float.onnx"
        write_onnx(proto, path)
        step = OnnxRuntimeSession(str(path))
    layout = context.data.layout
    session = SteppedSession(step) if layout.sequence else step
    fixed = step.fixed_batch(layout.axes)
    session.run(next(iter(Calibration(context, fixed or 1, fixed))))
