"""Calibration samples as ONNX Runtime's quantizer reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from weighbridge.contracts import Array, Inputs
from weighbridge.core.batches import count, not_finite, shapes, take
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError


class CalibrationReader:
    """ONNX Runtime's `CalibrationDataReader` over a split: one batch at a time, never the whole split in memory.

    Raises `StageError` for samples with NaN, from which no range can be learned, and with `one_shape`, as histograms
    need, for samples of several shapes.
    """

    def __init__(self, data: Data, model: Path, samples: int, one_shape: bool = False) -> None:
        from weighbridge.engines.onnxruntime import OnnxRuntimeSession
        from weighbridge.engines.sequences import SteppedSession

        self._split, self._samples, self._one_shape = data.split("calibration"), samples, one_shape
        session = OnnxRuntimeSession(str(model))
        self._session = SteppedSession(session) if data.layout.sequence else session
        self.whole = self._session.fixed_batch(data.layout.axes)
        length = self._split.length
        self._length = min(
            samples, sum(count(x) for x, _ in self._split.batches()) if length is None else length
        )
        # ONNX Runtime refuses strides that leave a remainder
        self.stride = self.whole or max(d for d in range(1, 33) if len(self) % d == 0)
        self._range = (0, samples)
        self._batches = self._iterate()

    def __len__(self) -> int:
        return self._length

    def set_range(self, start_index: int, end_index: int) -> None:
        self._range = (start_index, end_index)
        self._batches = self._iterate()

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)

    def rewind(self) -> None:
        self._batches = self._iterate()

    def check(self) -> None:
        """Run the model on the samples; raises `StageError` where it is the data that it does not run on."""
        for inputs in self._samples_in_range():
            self._session.run(inputs)

    def _iterate(self) -> Iterator[dict[str, Array]]:
        for inputs in self._samples_in_range():
            yield from self._session.feeds(inputs)

    def _samples_in_range(self) -> Iterator[Inputs]:
        seen, (start, stop) = 0, self._range
        shape = None
        for inputs, _ in self._split.batches(self.stride):
            size = count(inputs)
            low, high = max(start - seen, 0), min(stop - seen, size)
            seen += size
            if low < high:
                part = take(inputs, slice(low, high))
                broken = int(not_finite(part).sum())
                if broken:
                    raise StageError(
                        "data",
                        f"{broken} of {high - low} samples of split '{self._split.name}' hold NaN or infinity; no "
                        "range of activations can be learned from them",
                    )
                if self._one_shape and shape not in (None, shapes(part)):
                    raise StageError(
                        "data",
                        f"the samples of split '{self._split.name}' differ in shape ({shape} and {shapes(part)}), and "
                        "histograms need one shape: `calibration: minmax`, or pad the samples",
                    )
                shape = shapes(part)
                yield part
            if seen >= stop:
                return
