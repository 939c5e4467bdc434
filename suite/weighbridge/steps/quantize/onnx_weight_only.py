"""ONNX Runtime's weights of 4 or 8 bits in blocks along the inputs: activations stay in float, no data is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Promise, Step
from weighbridge.formats.onnx_file import write_onnx
from weighbridge.formats.onnx_weights import graphs
from weighbridge.steps.onnx_edits import drop_unused, remove, reread
from weighbridge.steps.quantize.onnx_graph import gemms_to_matmuls
from weighbridge.steps.quantize.onnx_preparation import DYNAMIC_WAYS, Prepared
from weighbridge.steps.quantize.onnx_steps import LayerOptions, Mode, quantized

KINDS = ("MatMul", "Gemm")


class WeightOnlyOptions(LayerOptions):
    bits: Literal[4, 8] = Field(4, description="Of a weight.")
    block_size: Literal[16, 32, 64, 128, 256] = Field(
        32, description="Weights along the inputs that share a scale: fewer are more accurate, and larger."
    )
    accuracy_level: Literal[0, 1, 2, 3, 4] = Field(
        4, description="What the kernel computes in: 4 is int8, the only fast one on most CPUs; 1 is float32."
    )


@dataclass(frozen=True)
class Blocks:
    options: WeightOnlyOptions

    def fit(self, prepared: Prepared) -> dict[str, str]:
        prepared.origins.update(gemms_to_matmuls(prepared.model))
        stored = {tensor.name: tensor for tensor in prepared.model.graph.initializer}
        unfit = {}
        for node in prepared.model.graph.node:
            if node.op_type == "Gemm":
                unfit[node.name] = "MatMulNBits scales and transposes nothing"
            elif node.op_type == "MatMul" and node.input[0] in stored:
                unfit[node.name] = "its weights stand on the left, where MatMulNBits takes none"
            elif (
                node.op_type == "MatMul"
                and len(stored[node.input[1]].dims if node.input[1] in stored else ()) > 2
            ):
                unfit[node.name] = "MatMulNBits takes one matrix, not a stack of them"
        return unfit

    def write(self, source: Path, target: Path, nodes: Sequence[str]) -> None:
        import onnx
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        options = self.options
        model = onnx.load(source)
        # Each block has a zero point: the library's symmetric scales may be negative, which little else reads.
        quantizer = MatMulNBitsQuantizer(
            model,
            bits=options.bits,
            block_size=options.block_size,
            accuracy_level=options.accuracy_level,
            nodes_to_exclude=[
                node.name for graph in graphs(model) for node in graph.node if node.name not in nodes
            ],
        )
        quantizer.process()
        model = quantizer.model.model
        _call_as_others_do(model, options.bits)
        write_onnx(model, target)


def _call_as_others_do(model: Any, bits: int) -> None:
    """Name nodes after those that they stand for, and codes as the other quantizers do, so that reports find the layer.

    A weight of several products comes with a copy for each, of one name.
    """
    graph, ending = model.graph, f"_Q{bits}"
    called: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            node.name = node.name.removesuffix(ending)
            weight = node.input[1].removesuffix(ending)
            endings = ("quantized", "scale", "zero_point")
            called |= {name: f"{weight}_{end}" for name, end in zip(node.input[1:], endings, strict=False)}
    seen: set[str] = set()

    def again(tensor: Any) -> bool:
        met = tensor.name in seen
        seen.add(tensor.name)
        return met

    remove(graph.initializer, again)
    for tensor in graph.initializer:
        tensor.name = called.get(tensor.name, tensor.name)
    reread(graph.node, called)
    drop_unused(model)


def weight_only(model: Model, options: WeightOnlyOptions, context: Context) -> Model:
    """Weights of 4 or 8 bits in blocks, activations in float. Raises `StageError`, see `onnx_steps.quantized`."""
    mode = Mode("weight_only", DYNAMIC_WAYS, frozenset(KINDS), KINDS)
    return quantized(mode, model, options, context, Blocks(options))


def scheme(options: WeightOnlyOptions) -> Promise:
    return Promise(
        bits=options.bits,
        granularity="group",
        group_size=options.block_size,
        symmetric=False,
        signed=False,
    )


STEPS.add(
    "quantize:weight_only@onnxruntime",
    Step(
        "quantize",
        "weight_only",
        ("onnx",),
        WeightOnlyOptions,
        weight_only,
        engine="onnxruntime",
        must="quantize",
        opens=True,
        scheme=scheme,
        random=False,
    ),
)
