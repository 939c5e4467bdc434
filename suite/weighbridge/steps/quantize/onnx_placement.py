"""Which nodes of a float graph become integer operators: the default of both steps of ONNX Runtime.

An integer kernel pays where it multiplies stored weights. Everything else is carried along only where it would otherwise
turn codes into floats and back, and loses accuracy everywhere. `benchmarks/wild.py` has what this placement and the
library's own, every operator type, give on public models.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from weighbridge.core.errors import StageError, did_you_mean
from weighbridge.steps.quantize.onnx_layers import OnnxLayer
from weighbridge.steps.quantize.onnx_lightest import lightest
from weighbridge.steps.quantize.onnx_wiring import Wiring, joined

Operators = Literal["auto", "all"] | list[str]

STATIC = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather")
"""Operators on stored weights that a static model computes in integers, or reads as codes."""
DYNAMIC = ("Gemm", "MatMul", "Gather", "LSTM", "Attention", "EmbedLayerNormalization")
"""The same of a dynamic model. Its convolutions are 5 to 8 times slower than float ones."""
LIGHT = 0.01
"""Share of all weights that the lightest layers, which stay in float, may hold together."""


@dataclass(frozen=True)
class Placement:
    """The names of the nodes to quantize, and why layers with weights are not among them, by node name."""

    nodes: frozenset[str]
    reasons: dict[str, str] = field(default_factory=dict)


def place(
    model: Any,
    layers: Sequence[OnnxLayer],
    chosen: Collection[str],
    operators: Operators,
    kinds: Collection[str],
    light: float = 0.0,
) -> Placement:
    """Which of the nodes `chosen` by the step's patterns are quantized.

    `operators` is `all`, the types wanted, or `auto`: the types `kinds` where they read weights, without the lightest
    layers that hold at most the share `light` of all weights together, and what stands between two of them.
    """
    if operators == "all":
        return Placement(frozenset(chosen))
    if operators != "auto":
        return Placement(
            frozenset(each.layer.name for each in layers if each.layer.kind in operators) & frozenset(chosen),
            {
                each.layer.name: f"`operators` has no {each.layer.kind}"
                for each in layers
                if each.layer.kind not in operators
            },
        )
    products = {
        each.layer.name: each
        for each in layers
        if each.weights and each.layer.kind in kinds and each.layer.name in chosen
    }
    wiring = Wiring(model)
    few = lightest(wiring, products, chosen, light) if light else []
    nodes = joined(wiring, products.keys() - {*few}, {*chosen} - {*few})
    reason = f"too few weights to be worth the error (`float_share: {light:g}`)"
    return Placement(frozenset(nodes), dict.fromkeys(few, reason))


def check_operators(operators: Operators, layers: Sequence[OnnxLayer], known: Collection[str]) -> None:
    """Raise `StageError` for a type that ONNX Runtime does not quantize, or that the graph has none of."""
    if not isinstance(operators, list):
        return
    there = {each.layer.kind for each in layers}
    for kind in operators:
        if kind not in known:
            raise StageError(
                "quantize",
                f"operators: ONNX Runtime does not quantize '{kind}'{did_you_mean(kind, known)}; or `all`, or `auto`",
            )
        if kind not in there:
            raise StageError(
                "quantize",
                f"operators: the graph has no {kind}{did_you_mean(kind, sorted(there))} (it has: "
                f"{', '.join(sorted(there & set(known)))})",
            )
