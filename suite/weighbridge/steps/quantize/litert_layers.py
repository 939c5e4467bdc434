"""The layers of a `.tflite`, as patterns choose them and as coverage tells what became of them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from weighbridge.contracts import FORMATS, Model
from weighbridge.core.coverage import Coverage, LayerCoverage
from weighbridge.environment.extras import LITERT_QUANTIZER, load
from weighbridge.steps.selection import Layer


@dataclass(frozen=True)
class TFLiteLayer:
    """An operator with what patterns may call it, its float weights, and its scope as ai-edge-quantizer matches it."""

    layer: Layer
    weights: tuple[str, ...]
    scope: str

    @property
    def pattern(self) -> str:
        """The regular expression that fits this operator's scope and no other."""
        return f"^{re.escape(self.scope)}$"


def with_codes_of_today(content: bytes) -> bytes:
    """The file with every operator's code where it stands today.

    Files written before 2020 have it in the deprecated byte only, and ai-edge-quantizer (0.7) then takes each for ADD.
    """
    flat = load(LITERT_QUANTIZER, "ai_edge_quantizer.utils.tfl_flatbuffer_utils").read_model(
        bytearray(content)
    )
    if all(code.builtinCode >= code.deprecatedBuiltinCode for code in flat.operatorCodes):
        return content
    import flatbuffers

    for code in flat.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(flat.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def tflite_layers(content: bytes) -> list[TFLiteLayer]:
    """Every operator, named after its first output; a pattern may also be one of its weights' names."""
    utils = load(LITERT_QUANTIZER, "ai_edge_quantizer.utils.tfl_flatbuffer_utils")
    schema = load(LITERT_QUANTIZER, "ai_edge_quantizer.qtyping")
    kinds = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    flat = utils.read_model(bytearray(content))
    found = []
    for graph in flat.subgraphs:
        for operator in graph.operators:
            code = flat.operatorCodes[operator.opcodeIndex]
            tensors = [graph.tensors[index] for index in operator.inputs if index >= 0]
            weights = tuple(_text(each.name) for each in tensors if _is_weight(each, flat, schema))
            outputs = [_text(graph.tensors[index].name) for index in operator.outputs]
            kind = kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
            layer = Layer(outputs[0] if outputs else kind, kind, frozenset(weights))
            found.append(TFLiteLayer(layer, weights, utils.get_op_scope(operator, graph.tensors)))
    return found


def _is_weight(tensor: Any, flat: Any, schema: Any) -> bool:
    data = flat.buffers[tensor.buffer].data
    shape = [] if tensor.shape is None else list(tensor.shape)
    stored = data is not None and len(data) > 0 and math.prod(shape) > 1
    return stored and len(shape) > 1 and tensor.type == schema.TensorType.FLOAT32


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def coverage(layers: Sequence[TFLiteLayer], excluded: Collection[str], mode: str, content: bytes) -> Coverage:
    """What became of each layer with float weights, read from the quantized file by the weights' names."""
    stored = FORMATS.get("tflite").tensors(Model("tflite", content))
    floats = {tensor.name for tensor in stored if tensor.quantization is None}
    told = []
    for each in layers:
        if not each.weights:
            continue
        converted = not floats & set(each.weights)
        asked = each.scope not in excluded
        reason = ""
        if not converted:
            reason = (
                f"ai-edge-quantizer has no {mode} quantization for {each.layer.kind} of this shape"
                if asked
                else "`exclude` names it"
            )
        name = each.weights[0] if len(each.weights) == 1 else each.layer.name
        told.append(LayerCoverage(name, each.layer.kind, asked, converted or not asked, converted, reason))
    return Coverage(tuple(told))
