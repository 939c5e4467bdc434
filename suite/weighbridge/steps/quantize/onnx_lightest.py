"""The layers that a static model leaves in float, since they hold few weights: where eight bits cost most and gain least.

They are the first and the depthwise convolutions of most networks. `benchmarks/wild.py` has what leaving them gives.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from weighbridge.steps.quantize.onnx_layers import OnnxLayer
from weighbridge.steps.quantize.onnx_wiring import FUSED, Wiring, joined

Shapes = Mapping[str, Sequence[int | None]]
"""Of each value that is known; an open axis is None."""
WORK = 0.05
"""Share of the multiplications that may stay in float in the midst of integer operators, where they would gain too."""


def lightest(
    wiring: Wiring,
    shapes: Shapes,
    products: Mapping[str, OnnxLayer],
    chosen: Collection[str],
    share: float,
) -> list[str]:
    """The layers with the fewest weights, which together hold at most `share` of them.

    A layer that shares its weight with one that is quantized is no lighter for staying in float, so it is not left. Nor
    is one before a MaxPool: ONNX Runtime moves the rounding to before the pooling, whose kernel for codes in the layout
    of a float convolution takes ten times as long as the float one.
    """
    sizes = {
        name: sum(math.prod(wiring.stored[weight]) for weight in {*each.weights})
        for name, each in products.items()
    }
    readers = Counter(weight for each in products.values() for weight in {*each.weights})
    total = sum(math.prod(wiring.stored[weight]) for weight in readers)
    work = {name: multiplications(wiring, shapes, each) for name, each in products.items()}
    integers = joined(wiring, products, chosen)
    few, held, done = list[str](), 0, 0.0
    for name in sorted(products, key=lambda name: sizes[name]):
        if any(readers[weight] > 1 for weight in products[name].weights):
            continue
        if held + sizes[name] > share * total:
            break
        if _before_a_pool(wiring, name, integers - products.keys()):
            continue
        if _in_the_midst(wiring, name, integers):
            if done + work[name] > WORK * sum(work.values()):
                continue
            done += work[name]
        held += sizes[name]
        few.append(name)
    return few


def _before_a_pool(wiring: Wiring, name: str, integers: Collection[str]) -> bool:
    """Whether `integers`, which are no layers, lead from a layer to a MaxPool among them."""
    behind = wiring.behind(name, integers.__contains__)
    return any(each in integers and wiring.nodes[each].op_type == "MaxPool" for each in behind)


def _in_the_midst(wiring: Wiring, name: str, integers: Collection[str]) -> bool:
    """Whether everything around a layer computes in integers, so that leaving it in float costs conversions."""
    before = all(value in wiring.inputs or wiring.made_by(value, integers) for value in wiring.data(name))
    behind = list(wiring.behind(name, lambda reader: wiring.nodes[reader].op_type in FUSED))
    return before and bool(behind) and all(each in integers for each in behind)


def multiplications(wiring: Wiring, shapes: Shapes, layer: OnnxLayer) -> float:
    """Of a layer for one sample; an axis of which nothing is known counts as one, and so does the batch."""
    node = wiring.nodes[layer.layer.name]
    weights = max(math.prod(wiring.stored[weight]) for weight in layer.weights)
    if node.op_type == "Gather":
        return 0.0
    given = shapes.get((node.input if node.op_type == "ConvTranspose" else node.output)[0], ())
    places = given[2:] if node.op_type in ("Conv", "ConvTranspose") else given[1:-1]
    return float(weights * math.prod(place or 1 for place in places))
