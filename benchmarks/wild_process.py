"""What `wild.py` runs in processes of their own: make an artifact by one route, or weigh artifacts against the float model.

Each prints lines of JSON. Whatever a library prints itself goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from common import open_session, peak
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from wild_images import Feed
from wild_models import BY_NAME, Wild

from weighbridge.contracts import Context, Metric, Model
from weighbridge.core.data import Data
from weighbridge.core.layout import Layout
from weighbridge.steps.quantize import onnx_auto, onnx_dynamic, onnx_static

CALIBRATED, WEIGHED = 1, 2
"""Seeds: the samples that are weighed are others than those that are calibrated on."""
LEAST_S, MOST_S = 1.5, 8.0
"""Of alternated calls, for a ratio of speed."""

Route = Callable[[Path, Path, Wild, Sequence[Feed]], None]
"""From the float file to the file of the artifact, with samples to calibrate on."""


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def _stock_dynamic(source: Path, target: Path, wild: Wild, feeds: Sequence[Feed]) -> None:
    quantize_dynamic(source, target)


def _stock_static(per_channel: bool) -> Route:
    def make(source: Path, target: Path, wild: Wild, feeds: Sequence[Feed]) -> None:
        prepared = target.with_suffix(".prepared.onnx")
        try:
            quant_pre_process(str(source), str(prepared))
        except Exception:  # what its users do then
            prepared = source
        types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        quantize_static(prepared, target, _Reader(feeds), per_channel=per_channel, **types)

    return make


def _ours(module: Any, method: str, options: Any) -> Route:
    """A step without options. `auto` gets the float model's answers as targets, since it aims at the case's metric."""

    def make(source: Path, target: Path, wild: Wild, feeds: Sequence[Feed]) -> None:
        split: list[Any] = list(feeds)
        metric: Metric | None = None
        if method == "auto":
            metric = _Agreement(wild, open_session(source), feeds)
            split = [(feed, np.array([index])) for index, feed in enumerate(feeds)]
        data = Data({"calibration": split}, layout=Layout(axes=wild.axes))
        context = Context(target.parent, target.parent, 0, data, metric=metric)
        made = getattr(module, method)(Model("onnx", onnx.load(source)), options(), context)
        onnx.save(made.value, target)

    return make


class _Agreement:
    """Agreement with the float model as a case's metric; a target is the number of a sample."""

    name, higher_is_better, binary = "agreement", True, False

    def __init__(self, wild: Wild, session: ort.InferenceSession, feeds: Sequence[Feed]) -> None:
        self._agreement = wild.agreement
        self._axes = [wild.axes.get(output.name, 0) for output in session.get_outputs()]
        self._answers = [session.run(None, feed) for feed in feeds]

    def per_sample(self, outputs: Sequence[Any], targets: Any) -> Any:
        """Shape [N]. What neither model finds is as good as the same: the search counts every sample."""
        scores = [
            self._agreement(self._answers[int(target)], self._of_one(outputs, row))
            for row, target in enumerate(targets)
        ]
        return np.nan_to_num(np.array(scores), nan=1.0)

    def whole(self, outputs: Sequence[Any], targets: Any) -> float:
        return float(self.per_sample(outputs, targets).mean())

    def _of_one(self, outputs: Sequence[Any], row: int) -> list[Any]:
        return [
            array if axis is None or not array.ndim else np.take(array, [row], axis)
            for array, axis in zip(outputs, self._axes, strict=True)
        ]


ROUTES: dict[str, Route] = {
    "stock dynamic": _stock_dynamic,
    "stock static": _stock_static(per_channel=False),
    "stock per channel": _stock_static(per_channel=True),
    "our dynamic": _ours(onnx_dynamic, "dynamic", onnx_dynamic.DynamicOptions),
    "our static": _ours(onnx_static, "static", onnx_static.StaticOptions),
    "our auto": _ours(onnx_auto, "auto", onnx_auto.AutoOptions),
}


def make(site: str, name: str, route: str, target: str, samples: str) -> Iterator[dict[str, Any]]:
    """Seconds from file to file, and the peak memory of this process in bytes, the samples and imports included."""
    wild = BY_NAME[name]
    feeds = list(wild.samples(Path(site), int(samples), CALIBRATED))
    began = time.monotonic()
    try:
        ROUTES[route](Path(site) / wild.path, Path(target), wild, feeds)
    except Exception as error:
        yield {"failed": f"{type(error).__name__}: {error}"}
        return
    seconds = time.monotonic() - began
    yield {"seconds": seconds, "peak": peak()}


def weigh(site: str, name: str, samples: str, *artifacts: str) -> Iterator[dict[str, Any]]:
    """Of each artifact the agreement, and how many times smaller and faster it is than the float file."""
    wild = BY_NAME[name]
    source = Path(site) / wild.path
    feeds, original = list(wild.samples(Path(site), int(samples), WEIGHED)), open_session(source)
    answers = [original.run(None, feed) for feed in feeds]
    shifted = [*answers[1:], answers[0]]
    told = [not np.isnan(wild.agreement(answer, answer)) for answer in answers]
    chance = np.nanmean([wild.agreement(a, b) for a, b in zip(answers, shifted, strict=True)])
    for artifact in artifacts:
        try:
            session = open_session(Path(artifact))
            scores = [
                wild.agreement(answer, session.run(None, feed))
                for answer, feed in zip(answers, feeds, strict=True)
            ]
            faster = _times_faster(original, session, feeds[0])
        except Exception as error:
            yield {"failed": f"{type(error).__name__}: {error}"}
            continue
        yield {
            "agreement": float(np.nanmean(scores)),
            "smaller": source.stat().st_size / Path(artifact).stat().st_size,
            "faster": faster,
            "telling": int(sum(told)),
            "chance": float(chance),
        }


def _times_faster(original: ort.InferenceSession, other: ort.InferenceSession, feed: Feed) -> float:
    """By the least time of either, of calls in turn: no gate, but a neighbour seldom slows every call of one side."""
    times: tuple[list[float], list[float]] = ([], [])
    for session in (original, other):
        session.run(None, feed)
    began = time.perf_counter()
    while (taken := time.perf_counter() - began) < LEAST_S or (len(times[0]) < 5 and taken < MOST_S):
        for session, spent in zip((original, other), times, strict=True):
            start = time.perf_counter()
            session.run(None, feed)
            spent.append(time.perf_counter() - start)
    return min(times[0]) / min(times[1])


if __name__ == "__main__":
    steps = {"make": make, "weigh": weigh}[sys.argv[1]](*sys.argv[2:])
    out, sentinel = sys.stdout, object()
    while True:
        with contextlib.redirect_stdout(sys.stderr):
            line = next(steps, sentinel)
        if line is sentinel:
            break
        print(json.dumps(line), file=out, flush=True)
