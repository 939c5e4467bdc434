"""`quantize: auto`: static quantization with the layers left in float that the case's own limit on the outputs needs.

Each layer alone is quantized, and the noise that it leaves in the outputs is held against the bytes that it saves. From
the dearest on, layers are left in float until the accuracy on labelled samples holds: never those of `test`. The source
of the ranking is mixed precision by sensitivity (Dong et al., HAWQ, 2019; Wu et al., arXiv 2004.09602, section 5).
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from weighbridge.contracts import STEPS, Array, Context, Inputs, Model, Session, Step
from weighbridge.core.batches import count, take
from weighbridge.engines.onnxruntime import OnnxRuntimeSession
from weighbridge.engines.sequences import SteppedSession
from weighbridge.steps.quantize.onnx_layers import onnx_layers
from weighbridge.steps.quantize.onnx_placement import fused_into, place
from weighbridge.steps.quantize.onnx_preparation import (
    STATIC_WAYS,
    Prepared,
    first_that_works,
    refuse_without_floats,
)
from weighbridge.steps.quantize.onnx_static import Static, StaticOptions, static_mode, static_scheme
from weighbridge.steps.quantize.onnx_steps import Converted, as_model, converted, written

JUDGED, RANKED = 256, 8
"""Samples that an artifact is judged on, and that layers are ranked on."""
MOST_IN_FLOAT = 0.5
"""Of the weights: with more of them in float, it is no int8 artifact any more."""
_METHODS = ("minmax", "percentile")
_DROP, _FIDELITY = "accuracy_drop", "fidelity"
_MARGIN_DB = 1.0
"""Above the case's `fidelity`, since its samples are others."""


class AutoOptions(StaticOptions):
    accuracy_drop: float = Field(
        0.01,
        gt=0,
        description="What may be lost on the calibration split; half the case's own `accuracy_drop` where it has one.",
    )


@dataclass(frozen=True)
class _Tried:
    """One artifact: its options, and how far it falls short, as a drop of the metric or a share of noise."""

    options: StaticOptions
    found: Converted
    loss: float
    in_float: float
    """Share of the weights."""


def auto(model: Model, options: AutoOptions, context: Context) -> Model:
    """The best of several static recipes, with the one that won in its notes. Raises `StageError` as `static` does."""

    def run(prepared: Prepared, folder: Path) -> tuple[_Tried, str]:
        search = _Search(model, options, context, prepared, folder)
        best = search.best()
        return best, search.told(best)

    refuse_without_floats(model.value, "quantize: auto")
    with tempfile.TemporaryDirectory(dir=context.workdir) as folder:
        (best, told), notes = first_that_works(model.value, Path(folder), STATIC_WAYS, run, "quantize: auto")
    return as_model(model, best.found, (*notes, told))


class _Search:
    def __init__(
        self, model: Model, options: AutoOptions, context: Context, prepared: Prepared, folder: Path
    ) -> None:
        self._model, self._context, self._prepared, self._folder = model, context, prepared, folder
        own = options.model_dump(exclude={"accuracy_drop"}, exclude_unset=True)
        self._options = StaticOptions.model_validate({**own, "reduce_range": options.reduce_range})
        self._judge = _Judge(context, self._session(model.value, "float"), options.accuracy_drop)
        self._tried = 0

    def best(self) -> _Tried:
        """The artifact with the fewest weights in float whose loss is within the limit; else the one that loses least."""
        methods = _METHODS if "calibration" not in self._options.model_fields_set else ()
        starts = []
        for method in methods or (self._options.calibration,):
            starts.append(self._try(self._options.model_copy(update={"calibration": method}), 0.0))
            if self._judge.holds(starts[-1].loss):
                return starts[-1]
        start = min(starts, key=lambda each: each.loss)
        ranked = self._ranked(start.options)
        return self._fewest(start, ranked)

    def told(self, best: _Tried) -> str:
        """What was tried and what came of it, with the recipe to paste."""
        said = f"auto: {self._tried} artifacts tried, {self._judge.said(best.loss)}"
        if not self._judge.holds(best.loss):
            said += (
                f"; none with at most {MOST_IN_FLOAT:.0%} of the weights in float holds {self._judge.limit}"
            )
        stated = best.options.model_dump(exclude_unset=True)
        pasted = {
            name: value
            for name, value in stated.items()
            if value != StaticOptions.model_fields[name].get_default(call_default_factory=True)
        }
        return f"{said}; the same by hand: {{quantize: static{_as_yaml(pasted)}}}"

    def _fewest(self, start: _Tried, ranked: Sequence[tuple[str, int]]) -> _Tried:
        """Twice as many layers in float each time until the limit holds, then halfway back."""
        total = sum(size for _, size in ranked)
        tried = {0: start}

        def at(number: int) -> _Tried:
            if number not in tried:
                names = [name for name, _ in ranked[:number]]
                in_float = sum(size for _, size in ranked[:number]) / total
                exclude = [*start.options.exclude, *names]
                tried[number] = self._try(start.options.model_copy(update={"exclude": exclude}), in_float)
            return tried[number]

        most = 0
        while most < len(ranked) - 1 and sum(size for _, size in ranked[: most + 1]) <= MOST_IN_FLOAT * total:
            most += 1
        low, high = 0, 1
        while high <= most and not self._judge.holds(at(high).loss):
            low, high = high, high * 2 if high * 2 <= most or high == most else most
        if high > most:
            return min(tried.values(), key=lambda each: (each.loss, each.in_float))
        while high - low > max(1, high // 8):
            middle = (low + high) // 2
            low, high = (low, middle) if self._judge.holds(at(middle).loss) else (middle, high)
        return at(high)

    def _try(self, options: StaticOptions, in_float: float) -> _Tried:
        self._tried += 1
        self._context.say(f"auto: artifact {self._tried}, {in_float:.0%} of the weights in float")
        found = converted(
            static_mode(options),
            self._copy(),
            options,
            self._model.value,
            self._quantizer(options),
            self._own(),
        )
        return _Tried(options, found, self._judge.loss(self._session(found.graph, "tried")), in_float)

    def _ranked(self, options: StaticOptions) -> list[tuple[str, int]]:
        """The quantized layers with their number of weights, from the most noise for each weight on."""
        layers = onnx_layers(self._prepared.model, self._prepared.origins)
        mode = static_mode(options)
        chosen = {each.layer.name for each in layers}
        placed = place(self._prepared.model, layers, chosen, options.operators, mode.kinds, mode.float_share)
        sizes = {tensor.name: math.prod(tensor.dims) for tensor in self._prepared.model.graph.initializer}
        there = [each for each in layers if each.weights and each.layer.name in placed.nodes]
        noises = []
        for number, each in enumerate(there, 1):
            self._context.say(f"auto: layer {number} of {len(there)}")
            nodes = {each.layer.name, *fused_into(self._prepared.model, each.layer.name, placed.nodes)}
            graph, *_ = written(self._copy(), layers, nodes, self._quantizer(options), self._own())
            weights = sum(sizes[name] for name in each.weights)
            noise = self._judge.noise(self._session(graph, "layer"))
            noises.append((noise / weights, each.layer.name, weights))
        return [(name, weights) for _, name, weights in sorted(noises, key=lambda each: -each[0])]

    def _quantizer(self, options: StaticOptions) -> Static:
        """Ranges are those of the first artifact of the method, in which most is quantized."""
        return Static(options, self._context, self._folder / f"{options.calibration}.json")

    def _copy(self) -> Prepared:
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._prepared.model)
        return replace(self._prepared, model=model, origins=dict(self._prepared.origins))

    def _own(self) -> Path:
        """An empty folder."""
        folder = self._folder / "made"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def _session(self, graph: Any, name: str) -> Session:
        import onnx

        path = self._folder / f"{name}.onnx"
        onnx.save(graph, path)
        session = OnnxRuntimeSession(str(path))
        return SteppedSession(session) if self._context.data.layout.sequence else session


class _Judge:
    """What an artifact loses on samples of the calibration split: of the metric where they are labelled, else of the outputs."""

    def __init__(self, context: Context, original: Session, drop: float) -> None:
        self._batches = list(_first(context, JUDGED))
        limits = {name: limit.max if name == _DROP else limit.min for name, limit in context.limits.items()}
        labelled = all(targets is not None for _, targets in self._batches)
        by_outputs = limits.get(_FIDELITY) is not None and limits.get(_DROP) is None
        self._metric = context.metric if labelled and not by_outputs else None
        outputs = [original.run(inputs) for inputs, _ in self._batches]
        if self._metric:
            stated = limits.get(_DROP)
            self._limit = stated / 2 if stated else drop
            self._value = self._score(outputs)
        else:
            stated = limits.get(_FIDELITY)
            self._limit = drop if stated is None else 10 ** (-(stated + _MARGIN_DB) / 10)
            self._all = outputs
        first = self._batches[0][0]
        self._few = take(first, slice(0, RANKED)) if count(first) > RANKED else first
        self._outputs = original.run(self._few)

    @property
    def limit(self) -> str:
        return f"{_DROP} {self._limit:g}" if self._metric else f"{_FIDELITY} {_decibels(self._limit):.1f} dB"

    def holds(self, loss: float) -> bool:
        return loss <= self._limit

    def said(self, loss: float) -> str:
        samples = f"{sum(count(inputs) for inputs, _ in self._batches)} samples of the calibration split"
        if self._metric:
            return f"{self._metric.name} on {samples} {self._value:.4g} before and {self._value - loss:.4g} after"
        return f"{_FIDELITY} on {samples} {_decibels(loss):.1f} dB"

    def loss(self, session: Session) -> float:
        """How much worse than the original; of the metric, or the noise as a share of the output that loses most."""
        outputs = [session.run(inputs) for inputs, _ in self._batches]
        if self._metric is None:
            return _whole_noise(self._all, outputs)
        found = self._score(outputs)
        return self._value - found if self._metric.higher_is_better else found - self._value

    def noise(self, session: Session) -> float:
        """For the ranking of layers, on few samples."""
        return _noise(self._outputs, session.run(self._few))

    def _score(self, outputs: Sequence[tuple[Array, ...]]) -> float:
        assert self._metric is not None
        targets = [np.asarray(target) for _, target in self._batches]
        scores = [self._metric.per_sample(out, target) for out, target in zip(outputs, targets, strict=True)]
        known = [score for score in scores if score is not None]
        if len(known) == len(scores):
            return float(np.concatenate(known).mean())
        whole = tuple(np.concatenate(parts) for parts in zip(*outputs, strict=True))
        return float(self._metric.whole(whole, np.concatenate(targets)))


def _first(context: Context, most: int) -> Iterator[tuple[Inputs, Array | None]]:
    """The first `most` samples of the calibration split, in batches."""
    left = most
    for inputs, targets in context.data.split("calibration").batches(32):
        n = min(count(inputs), left)
        yield take(inputs, slice(0, n)), None if targets is None else targets[:n]
        left -= n
        if not left:
            return


def _noise(before: Sequence[Array], after: Sequence[Array]) -> float:
    """How much of the outputs is lost, from 0 to 1; of the output that loses most.

    Each channel counts alike, however small its numbers: a detector gives coordinates of hundreds beside scores of less
    than one, in one tensor.
    """
    worst = 0.0
    for a, b in zip(before, after, strict=True):
        if a.dtype.kind != "f":
            continue
        if a.shape != b.shape:
            return 1.0
        for axis in {min(1, a.ndim - 1), a.ndim - 1}:
            others = tuple(index for index in range(a.ndim) if index != axis)
            error = np.square(a.astype(np.float64) - b).sum(others)
            spread = np.square(a - a.mean(others, keepdims=True), dtype=np.float64).sum(others)
            with np.errstate(invalid="ignore"):
                lost = np.nan_to_num(np.where(error == 0, 0.0, error / (error + spread)), nan=1.0)
            worst = max(worst, float(lost.mean()))
    return worst


def _whole_noise(before: Sequence[Sequence[Array]], after: Sequence[Sequence[Array]]) -> float:
    """Noise over signal of the output that loses most, over all batches: what `fidelity` is in dB."""
    noise: dict[int, float] = {}
    signal: dict[int, float] = {}
    for one, other in zip(before, after, strict=True):
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            if a.dtype.kind == "f":
                error = np.square(a.astype(np.float64) - b).sum() if a.shape == b.shape else math.inf
                noise[index] = noise.get(index, 0.0) + float(error)
                signal[index] = signal.get(index, 0.0) + float(np.square(a, dtype=np.float64).sum())
    return max((noise[index] / signal[index] for index in noise if noise[index]), default=0.0)


def _decibels(noise: float) -> float:
    return -10 * math.log10(noise) if noise else math.inf


def _as_yaml(options: dict[str, Any]) -> str:
    import json

    return "".join(f", {name}: {json.dumps(value)}" for name, value in options.items())


STEPS.add(
    "quantize:auto@onnxruntime",
    Step(
        "quantize",
        "auto",
        ("onnx",),
        AutoOptions,
        auto,
        engine="onnxruntime",
        must="quantize",
        splits=("calibration",),
        scheme=static_scheme,
        aims=True,
    ),
)
