"""The layers of an ONNX graph, as patterns choose them and as coverage tells what became of them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge.core.coverage import Coverage, LayerCoverage
from weighbridge.steps.onnx_edits import bodies, readers
from weighbridge.steps.selection import Layer

_WEIGHTS = {
    "Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1), "Gather": (0,), "LSTM": (1, 2),
    "GRU": (1, 2), "RNN": (1, 2), "Attention": (1,), "EmbedLayerNormalization": (2, 3, 4), "Einsum": (0, 1, 2),
    "FusedConv": (1,), "FusedGemm": (0, 1), "FusedMatMul": (0, 1), "MultiHeadAttention": (), "DeformConv": (1,),
}  # fmt: skip
"""Operators that keep weights in stored inputs, and which inputs these may be."""


@dataclass(frozen=True)
class OnnxLayer:
    """A node with what patterns may call it, and the float weights that it reads."""

    layer: Layer
    weights: tuple[str, ...]
    bias: str = ""
    """The stored vector that is added to what the node computes, and to nothing else."""


def onnx_layers(model: Any, origins: Mapping[str, str]) -> list[OnnxLayer]:
    """Every node of the main graph. Nodes must have names.

    A pattern is held against a node's name and, since exporters number their nodes, against the names of the weights
    it reads and of the layers these belong to: `fc1.weight` and `fc1`. torch turns a weight as it exports a Linear, and
    calls it `val_29`; its bias keeps its name. `origins` is what a folded weight was called before.
    """
    import onnx

    floats = (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.BFLOAT16,
    )
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    biases = _biases(model, stored)
    found = []
    for node in model.graph.node:
        bias = biases.get(node.name, "")
        read = [name for name in node.input if name in stored]
        names = {*read, *(origins[name] for name in read if name in origins)}
        names |= {_before_fusion(name) for name in names}
        names |= {bias} - {""}
        handles = {part for name in names for part in (name, name.rpartition(".")[0]) if part}
        # Fusions of ONNX Runtime append to the name of the node they begin with: fc1/MatMulAddFusion
        handles |= {node.name.rpartition("/")[0]} if "Fusion" in node.name.rpartition("/")[2] else set()
        positions = _WEIGHTS.get(node.op_type, ())
        weights = tuple(
            node.input[position]
            for position in positions
            if position < len(node.input)
            and node.input[position] in stored
            and len(stored[node.input[position]].dims) > 1
            and stored[node.input[position]].data_type in floats
        )
        found.append(OnnxLayer(Layer(node.name, node.op_type, frozenset(handles)), weights, bias))
    return found


def _biases(model: Any, stored: Mapping[str, Any]) -> dict[str, str]:
    """By the name of a product its bias, which it reads itself or an Add behind it adds."""
    read = readers(model)
    adds = {name: node for node in model.graph.node if node.op_type == "Add" for name in node.input}
    found = {}
    for node in model.graph.node:
        near = list(node.input[2:3]) if node.op_type in ("Conv", "ConvTranspose", "Gemm") else []
        if node.op_type == "MatMul" and node.output[0] in adds and read[node.output[0]] == 1:
            near = list(adds[node.output[0]].input)
        for name in near:
            if name in stored and len(stored[name].dims) == 1 and read[name] == 1:
                found[node.name] = name
    return found


def _before_fusion(weight: str) -> str:
    """What ONNX Runtime renames where it folds a normalization into a convolution."""
    return re.sub(r"^(Conv[A-Za-z]+Fusion_W_)+", "", weight)


def coverage(
    layers: list[OnnxLayer],
    passed_over: Mapping[str, str],
    unfit: Mapping[str, str],
    quantizable: Collection[str],
    mode: str,
    result: Any,
) -> Coverage:
    """What became of each layer with weights, read from the quantized model `result`.

    ONNX Runtime keeps the codes of a weight `w` as `w_quantized`. `passed_over` says why a node was not asked for, and
    `unfit` why it cannot be converted; `quantizable` are the operator types that ONNX Runtime quantizes in this `mode`.
    """
    stored = {tensor.name for tensor in result.graph.initializer}
    reads = {node.name: set(node.input) for node in result.graph.node}
    reasons = {**unfit, **passed_over}
    told = []
    for each in layers:
        if not each.weights:
            continue
        name, kind = each.layer.name, each.layer.kind
        codes = all(f"{weight}_quantized" in stored for weight in each.weights)
        converted = codes and not reads.get(name, set()) & set(each.weights)
        asked, convertible = name not in passed_over, kind in quantizable and name not in unfit
        passed = "passed it over" if convertible else f"has no integer kernel for {kind}"
        reason = reasons.get(name, f"ONNX Runtime's {mode} quantization {passed}")
        told.append(
            LayerCoverage(
                _label(each), kind, asked, convertible, converted, "" if converted else reason, each.weights
            )
        )
    return Coverage((*told, *_in_bodies(result)))


def stored_again(model: Any, origins: Mapping[str, str]) -> list[str]:
    """Weights that are stored more than once, since their readers want other layouts of them: a sentence each."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    copies: dict[str, list[str]] = {}
    for name, root in origins.items():
        if name in sizes:
            copies.setdefault(root, [root] if root in sizes else []).append(name)
    told = []
    for root, names in copies.items():
        whole = [name for name in names if sizes[name] == max(sizes[each] for each in names)]
        readers = [node.name for node in model.graph.node if any(name in node.input for name in whole)]
        if len(whole) > 1:
            told.append(
                f"{root} is tied: {' and '.join(readers)} read it in different layouts, so it is stored "
                f"{len(whole)} times"
            )
    return told


def turned_at_run_time(model: Any) -> list[str]:
    """Tied weights of which a reader wants the transpose, which a dynamic model makes of the codes: a sentence each."""
    stored = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 1}
    turned = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Transpose" and node.input[0] in stored
    }
    return [
        f"{turned[name]} is tied and stored once: {node.name} reads its transpose, and computes in float"
        for node in model.graph.node
        for name in node.input
        if name in turned
    ]


def _label(each: OnnxLayer) -> str:
    """The layer's own name where its weights carry one (`fc1` of `fc1.weight`), or its bias, else the node's."""
    owners = {_before_fusion(weight).rpartition(".")[0] for weight in each.weights}
    owner = owners.pop() if len(owners) == 1 else ""
    return owner or each.bias.rpartition(".")[0] or each.layer.name


def _in_bodies(model: Any) -> list[LayerCoverage]:
    """The float matrices and filters in the bodies of control flow."""
    import onnx

    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    reason = "ONNX Runtime quantizes nothing inside If, Loop and Scan"
    return [
        LayerCoverage(name, "weight in a body", True, False, False, reason, (name,))
        for body in bodies(model)
        for name, tensor in (
            *((tensor.name, tensor) for tensor in body.initializer),
            *(
                (node.output[0], each.t)
                for node in body.node
                for each in node.attribute
                if each.HasField("t")
            ),
        )
        if tensor.data_type in kinds and len(tensor.dims) > 1
    ]
