"""`quantize: auto`: static quantization with the layers left in float that the case's own limit on the outputs needs.

Each layer alone is quantized, and the noise that it leaves in the outputs is held against the bytes that it saves. From
the dearest on, layers are left in float until the accuracy on labelled samples holds: never those of `test`. The source
of the ranking is mixed precision by sensitivity (Dong et al., HAWQ, 2019; partial quantization in Wu et al., arXiv
2004.09602).
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Session, Step
from weighbridge.core.coverage import Coverage
from weighbridge.core.flow import flow
from weighbridge.core.units import show
from weighbridge.engines.onnxruntime import OnnxRuntimeSession
from weighbridge.engines.sequences import stepped
from weighbridge.formats.onnx_file import write_onnx
from weighbridge.steps.quantize.onnx_calibration import Spread
from weighbridge.steps.quantize.onnx_judge import Judge
from weighbridge.steps.quantize.onnx_layers import OnnxLayer
from weighbridge.steps.quantize.onnx_preparation import (
    STATIC_WAYS,
    Prepared,
    first_that_works,
    refuse_without_floats,
)
from weighbridge.steps.quantize.onnx_static import Static, StaticOptions, static_mode, static_scheme
from weighbridge.steps.quantize.onnx_steps import Converted, as_model, choose, converted, written
from weighbridge.steps.quantize.onnx_wiring import fused_into

MOST_IN_FLOAT = 0.5
"""Of the weights: with more of them in float, it is no int8 artifact any more."""
_METHODS = ("mse", "percentile", "minmax")


class AutoOptions(StaticOptions):
    accuracy_drop: float = Field(
        0.01,
        gt=0,
        description="What may be lost on the calibration split, of a metric that is no share of right answers as a part of "
        "it; half the case's own `accuracy_drop` or `relative_accuracy_drop` where it has one.",
    )


@dataclass(frozen=True)
class _Tried:
    """One artifact: its options, and how far it falls short, as a drop of the metric or a share of noise."""

    options: StaticOptions
    found: Converted
    loss: float
    in_float: float
    """Share of the weights."""
    size: int
    """Bytes."""


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
        session, self._before = self._session(model.value, "float")
        self._judge = Judge(context, session, options.accuracy_drop)
        self._tried, self._spread = 0, Spread()

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
        artifacts = "1 artifact" if self._tried == 1 else f"{self._tried} artifacts"
        said = f"auto: {artifacts} tried, {self._judge.said(best.loss)}"
        if not self._judge.holds(best.loss):
            said += (
                f"; none with at most {MOST_IN_FLOAT:.0%} of the weights in float holds {self._judge.limit}"
            )
        said += "".join(f"; {text}" for text in self._too_large(best.size))
        stated = best.options.model_dump(exclude_unset=True)
        pasted = {
            name: value
            for name, value in stated.items()
            if value
            != StaticOptions.model_fields[name].get_default(call_default_factory=True, validated_data={})
        }
        return f"{said}; the same by hand: {flow({'quantize': 'static', **pasted})}"

    def _too_large(self, size: int) -> Iterator[str]:
        """The case's limits on bytes that the artifact misses, and by how much. Fewer layers in float would lose too much."""
        limits = self._context.limits
        most = limits["size"].max if "size" in limits else None
        if most is not None and size > most:
            yield f"it has {show(size, 'bytes')}, and `size` allows {show(most, 'bytes')}"
        least = limits["size_ratio"].min if "size_ratio" in limits else None
        if least is not None and self._before < least * size:
            yield (
                f"it is {show(self._before / size, 'ratio')} smaller than what the step was given, and `size_ratio` asks for "
                f"{show(least, 'ratio')}"
            )

    def _fewest(self, start: _Tried, ranked: Sequence[tuple[OnnxLayer, int]]) -> _Tried:
        """Twice as many layers in float each time until the limit holds, then halfway back."""
        total = sum(size for _, size in ranked)
        tried = {0: start}

        def at(number: int) -> _Tried:
            if number not in tried:
                left = [each for each, _ in ranked[:number]]
                in_float = sum(size for _, size in ranked[:number]) / total
                exclude = [*start.options.exclude, *(escape(each.layer.name) for each in left)]
                tried[number] = self._try(
                    start.options.model_copy(update={"exclude": exclude}), in_float, left
                )
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

    def _try(self, options: StaticOptions, in_float: float, left: Sequence[OnnxLayer] = ()) -> _Tried:
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
        found = replace(found, coverage=_told(found.coverage, left))
        session, size = self._session(found.graph, "tried")
        return _Tried(options, found, self._judge.loss(session), in_float, size)

    def _ranked(self, options: StaticOptions) -> list[tuple[OnnxLayer, int]]:
        """The quantized layers with their number of weights, from the most noise for each weight on."""
        choice = choose(static_mode(options), self._prepared, options, self._model.value)
        sizes = {tensor.name: math.prod(tensor.dims) for tensor in self._prepared.model.graph.initializer}
        there = [each for each in choice.layers if each.weights and each.layer.name in choice.nodes]
        noises = []
        for number, each in enumerate(there, 1):
            self._context.say(f"auto: layer {number} of {len(there)}")
            nodes = {each.layer.name, *fused_into(self._prepared.model, each.layer.name, choice.nodes)}
            quantizer = self._quantizer(options.model_copy(update={"bias_correction": False}))
            graph, *_ = written(self._copy(), choice.layers, nodes, quantizer, self._own())
            weights = sum(sizes[name] for name in each.weights)
            noise = self._judge.noise(self._session(graph, "layer")[0])
            noises.append((noise / weights, each, weights))
        return [(each, weights) for _, each, weights in sorted(noises, key=lambda found: -found[0])]

    def _quantizer(self, options: StaticOptions) -> Static:
        """Ranges are those of the first artifact of the method, in which most is quantized."""
        return Static(options, self._context, self._folder / f"{options.calibration}.json", self._spread)

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

    def _session(self, graph: Any, name: str) -> tuple[Session, int]:
        """What runs the graph, and the bytes of its files."""
        files = write_onnx(graph, self._folder / f"{name}.onnx")
        session = stepped(OnnxRuntimeSession(str(files[0])), self._context.data.layout.sequence)
        return session, sum(path.stat().st_size for path in files)


def _told(coverage: Coverage, left: Sequence[OnnxLayer]) -> Coverage:
    """The coverage, in which the layers that the search left in float say so: the case excludes none of them."""
    weights = {each.weights for each in left}
    reason = "the search left it in float, for what it costs"
    return Coverage(
        tuple(
            replace(layer, reason=reason) if layer.weights in weights else layer for layer in coverage.layers
        )
    )


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
