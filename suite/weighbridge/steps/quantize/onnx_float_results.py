"""What an integer product gives to float operators alone is not rounded to codes on the way.

ONNX Runtime's quantizer puts a QuantizeLinear and a DequantizeLinear behind every operator. Its kernels of MatMul and Gemm give
floats as fast as codes (MatMulIntegerToFloat and QGemm, seen in 1.31), so the pair only costs accuracy: half of the noise of
an encoder whose projections are read by attention, and the last digits of a classifier's scores. Its convolutions give codes.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from weighbridge.steps.onnx_edits import drop_unused, read_inside, set_nodes
from weighbridge.steps.quantize.onnx_wiring import GIVE_FLOATS, Wiring


def keep_results_in_float(quantized: Any, before: Any, nodes: Collection[str]) -> None:
    """Take the pairs away, in place. `nodes` are the names of what was quantized of the float graph `before`.

    What reads a product must read it in `before` too: an activation that was fused into the pair is the pair's range.
    """
    wiring, now, inside = Wiring(before), Wiring(quantized), read_inside(quantized)
    instead: dict[str, str] = {}
    gone: set[str] = set()
    for name in nodes:
        node = wiring.nodes.get(name)
        if node is None or node.op_type not in GIVE_FLOATS or name not in now.nodes:
            continue
        floats = wiring.readers(node.output[0])
        if any(reader in nodes for reader in floats):
            continue
        (result,) = now.nodes[name].output
        pair = _pair(now, result)
        if pair is None or result in inside:
            continue
        opened = now.nodes[pair[1]].output[0]
        if sorted(now.readers(opened)) != sorted(floats):
            continue
        gone.update(pair)
        instead[result] = opened  # which may be an output of the graph, and keeps its name
    kept = [node for node in quantized.graph.node if node.name not in gone]
    for node in kept:
        node.output[:] = [instead.get(each, each) for each in node.output]
    set_nodes(quantized.graph, kept)
    drop_unused(quantized)


def _pair(wiring: Wiring, value: str) -> list[str] | None:
    """The QuantizeLinear and the DequantizeLinear that alone stand behind a value; None where there are others."""
    found = []
    for kind in ("QuantizeLinear", "DequantizeLinear"):
        readers = wiring.readers(value)
        if len(readers) != 1 or wiring.nodes[readers[0]].op_type != kind or value in wiring.outputs:
            return None
        found.append(readers[0])
        value = wiring.nodes[readers[0]].output[0]
    return found
