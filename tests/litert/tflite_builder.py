"""Small `.tflite` files written by hand, so that a test knows every byte that a reader has to find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

FLOAT32, FLOAT16, INT32, UINT8, INT64, INT16, INT8, INT4, INT2, UINT4 = 0, 1, 2, 3, 4, 7, 9, 17, 19, 20


@dataclass
class Tensor:
    """A tensor of the graph; `data` None makes it an activation."""

    name: str
    shape: Sequence[int]
    type: int = FLOAT32
    data: bytes | None = None
    scale: Sequence[float] = ()
    zero_point: Sequence[int] = ()
    axis: int = 0
    block: tuple[int, int] | None = None
    """(index of the tensor of scales, block size)."""
    sparsity: Any = None
    signature: Sequence[int] | None = None
    buffer: int | None = None
    """Share the buffer of the tensor at this index."""
    kept: bool = False
    """Whether it keeps its numbers from call to call."""


@dataclass
class Operator:
    code: int
    inputs: Sequence[int]
    outputs: Sequence[int]
    custom: str | None = None
    options: tuple[int, Any] | None = None


@dataclass
class Graph:
    tensors: list[Tensor]
    operators: list[Operator]
    inputs: Sequence[int]
    outputs: Sequence[int]
    names: dict[str, int] = field(default_factory=dict)
    """The signature's input names; without any there is no signature."""
    output_names: dict[str, int] = field(default_factory=dict)


def write(graph: Graph, *others: Graph) -> bytes:
    """`others` are graphs beside the first, each with a signature of its own."""
    model = schema.ModelT()
    model.version = 3
    model.description = b"test"
    model.buffers = [schema.BufferT()]
    model.operatorCodes, model.subgraphs, signatures = [], [], []
    for number, one in enumerate((graph, *others)):
        subgraph = schema.SubGraphT()
        subgraph.name = b"main" if number == 0 else b"other"
        subgraph.inputs, subgraph.outputs = list(one.inputs), list(one.outputs)
        subgraph.tensors, subgraph.operators = [], []
        for tensor in one.tensors:
            subgraph.tensors.append(_tensor(tensor, model, subgraph))
        for operator in one.operators:
            subgraph.operators.append(_operator(operator, model))
        model.subgraphs.append(subgraph)
        if one.names:
            signature = schema.SignatureDefT()
            signature.signatureKey = b"serving_default" if number == 0 else f"other_{number}".encode()
            signature.subgraphIndex = number
            signature.inputs = [_entry(name, index) for name, index in one.names.items()]
            signature.outputs = [_entry(name, index) for name, index in one.output_names.items()]
            signatures.append(signature)
    model.signatureDefs = signatures or None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(tensor: Tensor, model: Any, subgraph: Any) -> Any:
    packed = schema.TensorT()
    packed.name, packed.shape, packed.type = tensor.name.encode(), list(tensor.shape), tensor.type
    packed.shapeSignature = None if tensor.signature is None else list(tensor.signature)
    packed.sparsity = tensor.sparsity
    packed.isVariable = tensor.kept
    packed.buffer = 0
    if tensor.buffer is not None:
        packed.buffer = subgraph.tensors[tensor.buffer].buffer
    elif tensor.data is not None:
        buffer = schema.BufferT()
        buffer.data = list(tensor.data)
        model.buffers.append(buffer)
        packed.buffer = len(model.buffers) - 1
    if len(tensor.scale) or tensor.block:
        quantization = schema.QuantizationParametersT()
        quantization.scale = list(tensor.scale) or None
        quantization.zeroPoint = list(tensor.zero_point) or ([0] * len(tensor.scale) or None)
        quantization.quantizedDimension = tensor.axis
        if tensor.block:
            blockwise = schema.BlockwiseQuantizationT()
            blockwise.scales, blockwise.blockSize = tensor.block
            blockwise.zeroPoints = -1
            quantization.detailsType, quantization.details = 2, blockwise
        packed.quantization = quantization
    return packed


def _operator(operator: Operator, model: Any) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = operator.code, min(operator.code, 127), 1
    code.customCode = operator.custom.encode() if operator.custom else None
    model.operatorCodes.append(code)
    packed = schema.OperatorT()
    packed.opcodeIndex = len(model.operatorCodes) - 1
    packed.inputs, packed.outputs = list(operator.inputs), list(operator.outputs)
    if operator.options:
        packed.builtinOptionsType, packed.builtinOptions = operator.options
    return packed


def _entry(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), index
    return entry


FULLY_CONNECTED, CUSTOM, DEQUANTIZE, DENSIFY, RESHAPE, RNN, CAST = 9, 32, 6, 124, 22, 35, 53


def fully_connected(
    weight: Tensor, rows: int, columns: int, batch: int = 1, free: bool = False, names: bool = True
) -> Graph:
    """y = x W^T with `weight` of shape [rows, columns]."""
    options = schema.FullyConnectedOptionsT()
    signature = (-1, columns) if free else None
    tensors = [
        Tensor("x", (batch, columns), signature=signature),
        weight,
        Tensor("y", (batch, rows), signature=(-1, rows) if free else None),
    ]
    operator = Operator(FULLY_CONNECTED, (0, 1, -1), (2,), options=(8, options))
    naming = {"names": {"pixels": 0}, "output_names": {"scores": 2}} if names else {}
    return Graph(tensors, [operator], (0,), (2,), **naming)


def floats(array: Any) -> bytes:
    return np.asarray(array, np.float32).tobytes()


def pack(codes: Any, bits: int) -> bytes:
    """Low bits first, the last byte filled with zeros."""
    flat = np.asarray(codes).reshape(-1).astype(np.int64) & ((1 << bits) - 1)
    per_byte = 8 // bits
    flat = np.concatenate([flat, np.zeros(-len(flat) % per_byte, np.int64)]).reshape(-1, per_byte)
    return bytes((flat << (np.arange(per_byte) * bits)).sum(1).astype(np.uint8))
