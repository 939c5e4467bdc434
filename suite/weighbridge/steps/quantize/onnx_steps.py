"""What ONNX Runtime's quantize steps share: their options, the way through preparation, and what becomes of each layer."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pydantic import Field

from weighbridge.contracts import Context, Model, Options, Promise
from weighbridge.core.coverage import Coverage
from weighbridge.core.errors import StageError
from weighbridge.environment.requirements import overflows_here
from weighbridge.formats.onnx_file import write_onnx
from weighbridge.formats.onnx_model import read_onnx
from weighbridge.steps.quantize.onnx_branches import set_branches_apart
from weighbridge.steps.quantize.onnx_float_results import keep_results_in_float
from weighbridge.steps.quantize.onnx_graph import separate
from weighbridge.steps.quantize.onnx_layers import (
    OnnxLayer,
    coverage,
    onnx_layers,
    stored_again,
    turned_at_run_time,
)
from weighbridge.steps.quantize.onnx_left_in_float import keep_in_float
from weighbridge.steps.quantize.onnx_placement import Operators, Placement, check_operators, place
from weighbridge.steps.quantize.onnx_preparation import (
    Prepared,
    Way,
    first_that_works,
    refuse_without_floats,
)
from weighbridge.steps.quantize.onnx_saturation import saturating
from weighbridge.steps.selection import Layer, matching, select

TYPES = {"int8": "QInt8", "uint8": "QUInt8", "int16": "QInt16", "uint16": "QUInt16"}
"""Our names of ONNX Runtime's `QuantType`s."""


class LayerOptions(Options):
    operators: Operators = Field(
        "auto",
        description="`auto` (those whose integer kernels gain), `all` that ONNX Runtime quantizes, or a list of types.",
    )
    layers: list[str] = Field(
        default_factory=list, description="What to quantize, by names, patterns or types; all by default."
    )
    exclude: list[str] = Field(
        default_factory=list,
        description="What to leave in float: names or patterns of nodes, weights or layers, or operator types.",
    )


class WeightOptions(LayerOptions):
    tunes: ClassVar = {"per_channel": (None, False), "weights": ("int8", "uint8")}
    per_channel: bool | None = Field(
        None, description="A scale for each channel; by default wherever ONNX Runtime's kernels take one."
    )
    weights: Literal["int8", "uint8"] = Field(
        "int8", description="Of the codes: int8 are symmetric, uint8 have a zero point."
    )
    reduce_range: bool = Field(
        default_factory=overflows_here,
        description="7-bit weights: by default where this processor needs them, an x86 one without VNNI.",
    )


@dataclass(frozen=True)
class Mode:
    """What one of ONNX Runtime's ways to quantize is, for `quantized`."""

    name: str
    ways: tuple[Way, ...]
    known: frozenset[str]
    """The operator types that it can quantize."""
    kinds: tuple[str, ...]
    """Those among them that it quantizes unless asked for others."""
    float_share: float = 0.0


class Quantizer(Protocol):
    """One of ONNX Runtime's quantizers with its options."""

    def fit(self, prepared: Prepared) -> Mapping[str, str]:
        """Edit the graph to what the quantizer takes; gives the names of nodes that have to stay in float, and why."""
        ...

    def write(self, source: Path, target: Path, nodes: Sequence[str]) -> None:
        """Quantize the nodes of that name."""
        ...


@dataclass(frozen=True)
class Converted:
    """A quantized graph, what became of each layer, and what there is to say of it."""

    graph: Any
    coverage: Coverage
    notes: tuple[str, ...]


def quantized(
    mode: Mode, model: Model, options: LayerOptions, context: Context, quantizer: Quantizer
) -> Model:
    """Prepare, choose, fit, quantize and read back, in the first way of preparation in which all succeed.

    Raises `StageError` where none does, or nothing is left to quantize.
    """

    def run(prepared: Prepared, folder: Path) -> Converted:
        return converted(mode, prepared, options, model.value, quantizer, folder)

    step = f"quantize: {mode.name}"
    refuse_without_floats(model.value, step)
    with tempfile.TemporaryDirectory(dir=context.workdir) as folder:
        found, notes = first_that_works(model.value, Path(folder), mode.ways, run, step)
    return as_model(model, found, notes)


def as_model(before: Model, found: Converted, notes: Sequence[str]) -> Model:
    """The quantized graph as the step's result."""
    said = (*before.notes, *notes, *found.coverage.sentences(), *found.notes)
    return Model("onnx", found.graph, before.source, said, found.coverage)


def converted(
    mode: Mode, prepared: Prepared, options: LayerOptions, original: Any, quantizer: Quantizer, folder: Path
) -> Converted:
    """`prepared`, which is changed, with the nodes quantized that the options choose. `original` is the step's input.

    Raises `StageError` where the options fit nothing.
    """
    choice = choose(mode, prepared, options, original)
    result, copied, unfit = written(prepared, choice.layers, choice.nodes, quantizer, folder)
    now = {each.layer.name: each.weights for each in onnx_layers(prepared.model, {})}
    layers = [replace(each, weights=now.get(each.layer.name, ())) for each in choice.layers]
    notes = [
        f"{weight} is stored twice: {', '.join(readers)} keeps it in float, and others read its codes"
        for weight, readers in copied.items()
    ]
    notes += stored_again(prepared.model, prepared.origins)
    notes += turned_at_run_time(prepared.model) if mode.name == "dynamic" else []
    notes += [
        f"exclude: '{pattern}' fits only what was folded or fused away in preparation"
        for pattern in choice.gone
    ]
    notes += saturating(result) if isinstance(options, WeightOptions) and not options.reduce_range else []
    covered = coverage(layers, choice.reasons, unfit, mode.known, mode.name, result)
    return Converted(result, covered, tuple(notes))


@dataclass(frozen=True)
class Choice:
    """The nodes of a prepared graph to quantize, by name, and why others are not among them."""

    layers: list[OnnxLayer]
    """Every node of the graph."""
    nodes: frozenset[str]
    reasons: dict[str, str]
    gone: list[str]
    """Patterns of `exclude` that fit nodes of the original only."""


def choose(mode: Mode, prepared: Prepared, options: LayerOptions, original: Any) -> Choice:
    """What the options choose of `prepared`. Raises `StageError` where they fit nothing."""
    layers = onnx_layers(prepared.model, prepared.origins)
    chosen, gone = _chosen(layers, options, original)
    check_operators(options.operators, layers, mode.known)
    kinds = mode.known if options.layers else mode.kinds
    share = 0.0 if options.layers else mode.float_share
    placed = place(prepared.model, layers, chosen, options.operators, kinds, share)
    _refuse_nothing(mode, layers, chosen, options.operators, placed)
    reasons = {
        each.layer.name: "`exclude` names it"
        if any(_fits(pattern, each.layer) for pattern in options.exclude)
        else "`layers` does not name it"
        for each in layers
        if each.layer.name not in chosen
    }
    if options.operators == "auto":
        slow = {
            kind: f"no faster in integers; `operators: [{kind}]` quantizes it"
            for kind in mode.known - {*kinds}
        }
        reasons |= {each.layer.name: slow[each.layer.kind] for each in layers if each.layer.kind in slow}
    return Choice(layers, placed.nodes, {**placed.reasons, **reasons}, gone)


def written(
    prepared: Prepared,
    layers: Sequence[OnnxLayer],
    nodes: Collection[str],
    quantizer: Quantizer,
    folder: Path,
) -> tuple[Any, dict[str, list[str]], Mapping[str, str]]:
    """The graph with `nodes` quantized, the weights that are stored twice for it, with their float readers, and which
    nodes had to stay in float, with the reason.
    """
    copied = separate(prepared.model, {each.layer.name for each in layers} - set(nodes))
    unfit = quantizer.fit(prepared)
    there = {node.name for node in prepared.model.graph.node}
    left = sorted((set(nodes) & there) - unfit.keys())
    if not left:  # to ONNX Runtime, no names are all of them
        return prepared.model, copied, unfit
    source = folder / "source.onnx"
    if len(write_onnx(prepared.model, source)) > 1:  # from here on its graph alone is asked
        prepared.model = read_onnx(source)
    quantizer.write(source, folder / "quantized.onnx", left)
    return _loaded(folder / "quantized.onnx", prepared.model, left), copied, unfit


def _loaded(path: Path, before: Any, nodes: Collection[str]) -> Any:
    """The quantized model, which the engine can open; raises `RuntimeError` where it cannot, so that another way is tried.

    `nodes` are those that were quantized of the float graph `before`.
    """
    import onnx

    from weighbridge.engines.onnxruntime import OnnxRuntimeSession
    from weighbridge.formats.onnx_weights import imports

    model = onnx.load(path)
    needed = imports(model)  # the library declares every operator set that it knows
    del model.opset_import[:]
    model.opset_import.extend(needed)
    keep_results_in_float(model, before, nodes)
    keep_in_float(model)
    set_branches_apart(model)
    write_onnx(model, path)
    try:
        OnnxRuntimeSession(str(path))
    except StageError as error:
        reason = error.message.replace(str(path), "it")
        raise RuntimeError(f"the quantized model does not load: {reason}") from error
    return model


def _refuse_nothing(
    mode: Mode,
    layers: Sequence[OnnxLayer],
    chosen: Collection[str],
    operators: Operators,
    placed: Placement,
) -> None:
    """Raise `StageError` where the placement took none of the nodes, with what there is to ask for."""
    if placed.nodes:
        return
    here = [each for each in layers if each.weights and each.layer.name in chosen]
    slow = sorted({each.layer.kind for each in here} & (mode.known - {*mode.kinds}))
    if operators == "auto" and slow:
        raise StageError(
            "quantize",
            f"nothing to convert but {', '.join(slow)}, whose {mode.name} integer kernels are slower than float; use "
            f"`quantize: static`, or ask for them: `operators: [{', '.join(slow)}]`",
        )
    raise StageError(
        "quantize",
        f"nothing to convert: of the types that {mode.name} quantization converts ({', '.join(mode.kinds)}; none inside "
        "If, Loop and Scan), `operators`, `layers` and `exclude` leave no layer with float32 weights",
    )


def _chosen(layers: Sequence[OnnxLayer], options: LayerOptions, original: Any) -> tuple[set[str], list[str]]:
    """The names of the nodes that `layers` and `exclude` leave, and the patterns that fit nodes of the original only.

    Preparation folds and fuses nodes away; to exclude such a one is no error. Raises `StageError` for other patterns
    that fit nothing.
    """
    what, every = "no node, weight or layer", [each.layer for each in layers]
    there = [pattern for pattern in options.exclude if any(_fits(pattern, each) for each in every)]
    gone = [pattern for pattern in options.exclude if pattern not in there]
    if gone:
        before = [each.layer for each in onnx_layers(original, {})]
        matching("quantize", "exclude", what, [*every, *before], gone)
    chosen = {layer.name for layer in select("quantize", what, every, options.layers, there)}
    return chosen, gone


def _fits(pattern: str, layer: Layer) -> bool:
    return layer.goes_by(pattern) or layer.kind == pattern


def scheme(options: WeightOptions, by_default: Literal["channel"] | None = None) -> Promise:
    """What the options promise about weights. ONNX Runtime keeps int8 weights symmetric; uint8 ones have a zero point.

    `by_default` is the granularity where `per_channel` says nothing; None where it depends on the operator.
    """
    return Promise(
        bits=8,
        granularity={True: "channel", False: "tensor", None: by_default}[options.per_channel],
        symmetric=True if options.weights == "int8" else None,
        signed=options.weights == "int8",
        reduce_range=options.reduce_range,
    )
