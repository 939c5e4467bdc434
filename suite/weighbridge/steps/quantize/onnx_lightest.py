"""The layers that a static model leaves in float, since they hold few weights: where eight bits cost most and gain least.

They are the first and the depthwise convolutions of most networks. `benchmarks/wild.py` has what leaving them gives.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping

from weighbridge.steps.quantize.onnx_layers import OnnxLayer
from weighbridge.steps.quantize.onnx_wiring import FUSED, Wiring, joined


def lightest(
    wiring: Wiring,
    products: Mapping[str, OnnxLayer],
    chosen: Collection[str],
    share: float,
) -> list[str]:
    """The layers with the fewest weights, which together hold at most `share` of them.

    One in the midst of integers is not left: a float operator there costs more than it is worth, since it takes conversions
    and another layout of its numbers, and the layers around it lose what they gained. A layer that shares its weight with
    one that is quantized is no lighter for staying in float, so it is not left either. Nor is one before a MaxPool: ONNX
    Runtime moves the rounding to before the pooling, whose kernel for codes in the layout of a float convolution takes 16
    times as long as the float one.
    """
    sizes = {
        name: sum(math.prod(wiring.stored[weight]) for weight in {*each.weights})
        for name, each in products.items()
    }
    readers = Counter(weight for each in products.values() for weight in {*each.weights})
    total = sum(math.prod(wiring.stored[weight]) for weight in readers)
    integers = joined(wiring, products, chosen)
    few, held = list[str](), 0
    for name in sorted(products, key=lambda name: sizes[name]):
        if any(readers[weight] > 1 for weight in products[name].weights):
            continue
        if held + sizes[name] > share * total:
            break
        if _before_a_pool(wiring, name, integers - products.keys()) or _in_the_midst(wiring, name, integers):
            continue
        held += sizes[name]
        few.append(name)
    return few


def _before_a_pool(wiring: Wiring, name: str, integers: Collection[str]) -> bool:
    """Whether `integers`, which are no layers, lead from a layer to a MaxPool among them."""
    behind = wiring.behind(name, integers.__contains__)
    return any(each in integers and wiring.nodes[each].op_type == "MaxPool" for each in behind)


def _in_the_midst(wiring: Wiring, name: str, integers: Collection[str]) -> bool:
    """Whether everything around a layer computes in integers."""
    before = all(wiring.made_by(value, integers) for value in wiring.data(name))
    behind = list(wiring.behind(name, lambda reader: wiring.nodes[reader].op_type in FUSED))
    return before and bool(behind) and all(each in integers for each in behind)
