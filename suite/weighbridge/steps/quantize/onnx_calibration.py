"""The range of every activation that a static quantizer may ask for, learned in one reading of the calibration split."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import Array, Context, Inputs
from weighbridge.core.batches import count, take
from weighbridge.environment.machine import usable_cores
from weighbridge.steps.calibration import MOST, Calibration
from weighbridge.steps.onnx_answers import opened
from weighbridge.steps.quantize.onnx_histogram import Histogram
from weighbridge.steps.quantize.onnx_ranges import COUNTED, chosen_range

if TYPE_CHECKING:
    from weighbridge.engines.onnxruntime import OnnxRuntimeSession

BYTES = 8 * 2**20
"""Of the activations of one call; the engine holds them too, and those of the call before. Twice as many are no faster."""
FLOATS = ("tensor(float)", "tensor(float16)")
_THREADS = 4
MOST_KEPT = 64
_SAY_EVERY_S = 5.0


class Spread:
    """Some of the samples that pass by, evenly spread over all, however many come: the data is not read again for them."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Let go of what passed by before: another reading is of the same samples."""
        self.samples: list[Inputs] = []
        self._stride, self._seen = 1, 0

    def add(self, batch: Inputs, fixed: bool) -> None:
        """Every so many samples of the batch, or the whole of one that the model takes only so."""
        for row in range(1 if fixed else count(batch)):
            if self._seen % self._stride == 0:
                self.samples.append(batch if fixed else take(batch, slice(row, row + 1)))
            self._seen += 1
            most = max(1, MOST_KEPT // count(batch)) if fixed else MOST_KEPT
            if len(self.samples) > most:
                self.samples = self.samples[::2]
                self._stride *= 2


def learn_ranges(
    source: Path,
    path: Path,
    context: Context,
    samples: int,
    method: str,
    levels: int,
    symmetric: bool,
    spread: Spread,
) -> None:
    """Write the range of every float tensor of `source` that may be quantized to `path`, as ONNX Runtime reads them.

    `spread` keeps some of the samples. Raises `StageError` where the samples do not go through the model, or hold NaN.
    """
    import numpy as np
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData, save_tensors_data

    spread.begin()
    seen: dict[str, Histogram] = {}
    types: dict[str, Any] = {}
    for found in _activations(source, context, samples, spread):
        for name, values in found.items():
            seen.setdefault(name, Histogram(counted=method in COUNTED)).add(values)
            types[name] = values.dtype
    ranges = {
        name: tuple(np.array(end, dtype=types[name]) for end in chosen_range(method, each, levels, symmetric))
        for name, each in seen.items()
    }
    # Whatever the method was, what the file holds is the two ends of a range.
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, ranges), path)


def try_samples(proto: Any, context: Context) -> None:
    """Raise `StageError` where the samples do not go through the float model either."""
    from weighbridge.engines.sequences import stepped

    model, layout = opened(proto, context), context.data.layout
    fixed = model.fixed_batch(layout.axes)
    stepped(model, layout.sequence).run(next(iter(Calibration(context, fixed or 1, fixed))))


def _activations(source: Path, context: Context, samples: int, spread: Spread) -> Iterator[dict[str, Array]]:
    """Every float tensor by its name, for a few samples at a time: as many as `BYTES` hold."""
    from weighbridge.engines.onnxruntime import OnnxRuntimeSession

    model = OnnxRuntimeSession(str(source))
    watched, names = _watched(source)
    inputs = [name for name, value in model.inputs.items() if value.type in FLOATS]
    done, said = 0, time.monotonic()
    size = 1
    fixed = model.fixed_batch(context.data.layout.axes)
    for batch in Calibration(context, samples, fixed):
        spread.add(batch, fixed is not None)
        start = 0
        while start < count(batch):
            part = batch if fixed else take(batch, slice(start, start + size))
            start += count(part)
            most = 0
            for feed in feeds(model, part, context.data.layout.sequence):
                values = dict(zip(names, watched.run(names, feed), strict=True))
                most = max(most, sum(value.nbytes for value in values.values()))
                yield values | {name: feed[name] for name in inputs}
            size = max(1, min(MOST, BYTES * count(part) // max(most, 1)))
        done += count(batch)
        if time.monotonic() - said > _SAY_EVERY_S:
            context.say(f"calibration: {done} of {samples} samples")
            said = time.monotonic()


def feeds(model: OnnxRuntimeSession, batch: Inputs, sequence: bool) -> Iterator[dict[str, Array]]:
    """The named arrays of each call for this batch; of a sequence, step by step."""
    from weighbridge.engines.sequences import stepped

    yield from stepped(model, sequence).feeds(batch)


def _watched(source: Path) -> tuple[Any, Sequence[str]]:
    """A session that gives what the quantizable nodes of the main graph read and write, and the names of the floats.

    As outputs of it they stay, whatever the optimizer does around them. External data stays where it is, beside the source.
    """
    import onnx
    import onnxruntime as ort
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    proto = onnx.load(source, load_external_data=False)
    graph, kinds = proto.graph, {*QDQRegistry, *QLinearOpsRegistry}
    nodes = [node for node in graph.node if node.op_type in kinds]
    outputs = {value.name for value in graph.output}
    computed = {name for node in graph.node for name in node.output if node.op_type != "Constant"}
    touched = dict.fromkeys(name for node in nodes for name in (*node.input, *node.output))
    added = [name for name in touched if name and name in computed - outputs]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in added)
    wanted = {*added, *(outputs & touched.keys())}
    path = source.with_name(f"{source.stem}.watched.onnx")
    path.write_bytes(proto.SerializeToString())
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = max(1, min(int(usable_cores()), _THREADS)), 1
    # A thread that spins while it waits takes a core from another case.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    finally:
        path.unlink()
    return session, [
        value.name for value in session.get_outputs() if value.type in FLOATS and value.name in wanted
    ]
