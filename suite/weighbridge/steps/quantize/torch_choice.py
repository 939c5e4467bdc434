"""Which layers of a torch module a step quantizes, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weighbridge.core.coverage import Coverage, LayerCoverage
from weighbridge.core.errors import StageError
from weighbridge.steps.selection import LayerOptions, select
from weighbridge.steps.torch_layers import WeightLayer, weight_layers

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Choice:
    """The names of the layers to quantize (of one at several places, the first), and what the row says."""

    names: frozenset[str]
    coverage: Coverage
    notes: tuple[str, ...]


Unfit = Callable[[WeightLayer], str]
"""What of a layer cannot be quantized, in words that go with 'no'; empty where it can."""


def choose(module: torch.nn.Module, options: LayerOptions, method: str, takes: str, unfit: Unfit) -> Choice:
    """The layers that the options ask for and `method`, which `takes` some, can quantize; raises `StageError` where none is."""
    found = weight_layers(module)
    reasons = {each.names[0]: unfit(each) for each in found}
    if all(reasons.values()):
        kinds = sorted({type(part).__name__ for part in module.modules()})
        there = "; ".join(sorted(set(reasons.values()))) or "no weights"
        raise StageError(
            "quantize",
            f"{method} converts {takes}, and there is none among {', '.join(kinds)} ({there}); "
            + (
                "start from the model in float32, which every quantizer takes"
                if "float16" in there
                else "use `quantize: static` with `engine: onnxruntime`"
            ),
        )
    every = [each.layer for each in found]
    what = "no layer with weights"
    asked = {each.name for each in select("quantize", what, every, options.layers, options.exclude)}
    names = frozenset(name for name, reason in reasons.items() if name in asked and not reason)
    covered = []
    for each in found:
        name, reason = each.names[0], reasons[each.names[0]]
        why = f"{method} converts plain {takes}, no {reason}" if reason else ""
        why = why if name in asked else "`layers` and `exclude` leave it out"
        covered.append(LayerCoverage(each.label, each.kind, name in asked, not reason, name in names, why))
    coverage = Coverage(tuple(covered))
    if not names:
        raise StageError("quantize", "; ".join(coverage.sentences()))
    return Choice(names, coverage, (*coverage.sentences(), *_ties(found, names)))


def of_another_type(layer: WeightLayer, *taken: torch.dtype) -> str:
    """For `Unfit`: the type of weights that are of none of the types `taken`."""
    others = {
        str(weight.dtype).removeprefix("torch.")
        for weight in layer.weights.values()
        if weight.dtype not in taken
    }
    return f"weights of {' and '.join(sorted(others))}" if others else ""


def _ties(found: Sequence[WeightLayer], chosen: Collection[str]) -> list[str]:
    """A quantized layer whose weight another layer shares: from now on there are two copies."""
    owners: dict[int, list[WeightLayer]] = {}
    for layer in found:
        for weight in layer.weights.values():
            owners.setdefault(weight.data_ptr(), []).append(layer)
    return [
        f"{' and '.join(layer.label for layer in shared)} share one weight; quantizing breaks the tie, and "
        "it is stored once for each of them"
        for shared in owners.values()
        if len(shared) > 1 and any(layer.names[0] in chosen for layer in shared)
    ]
