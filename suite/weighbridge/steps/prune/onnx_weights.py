"""The weights of an ONNX graph that prune steps set to zero: what is multiplied with an activation, wherever it is kept.

Initializers, Constant nodes, bodies of control flow and functions are followed alike (`formats.onnx_flow`); what several
operators read is one weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import Model, StoredTensor
from weighbridge.core.errors import StageError
from weighbridge.core.listed import few
from weighbridge.formats.onnx_operators import integer
from weighbridge.steps.onnx_edits import free_name
from weighbridge.steps.prune.weights import Opened, Weight
from weighbridge.steps.selection import Layer, LayerOptions, select

if TYPE_CHECKING:
    from weighbridge.contracts import Array
    from weighbridge.formats.onnx_constants import Constant


@dataclass(frozen=True)
class _Found:
    """A stored weight, the constant that holds it, and the nodes that multiply with it."""

    tensor: StoredTensor
    constant: Constant
    readers: tuple[Any, ...]

    @property
    def layer(self) -> Layer:
        """As patterns see it: by the weight's name, the layer it belongs to, and the nodes that read it."""
        nodes = {name for node in self.readers for name in (node.name, *node.output) if name}
        return Layer(
            self.tensor.name, self.tensor.operator, frozenset({self.tensor.name, self.tensor.layer, *nodes})
        )

    @property
    def coded(self) -> bool:
        return self.tensor.quantization is not None and self.tensor.quantization.scheme == "affine"


def onnx_weights(model: Model, options: LayerOptions) -> Opened:
    """The chosen weights of a copy.

    Raises `StageError` where the graph multiplies with none, and where a chosen one is stored in integers, naming the
    operators.
    """
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(model.value)
    found, tables = _found(proto)
    every = [each.layer for each in found]
    if not every:
        raise StageError(
            "prune", "the graph multiplies with no stored matrix or filter: there is nothing to prune"
        )
    left = set(select("prune", "no weight, layer or node", every, options.layers, options.exclude))
    chosen = [each for each in found if each.layer in left]
    _refuse_codes(chosen)
    apart = [each for each in chosen if len(each.constant.tensors) != 1]
    taken: set[str] = set()
    weights = [_weight(each, taken) for each in chosen if each not in apart]
    if not weights:
        raise StageError("prune", f"no chosen weight can be written to: {_named(apart)} {_APART}")
    notes = [
        f"{each.tensor.name} is read by {', '.join(_node(node) for node in each.readers)}: it was pruned once, for all"
        for each in chosen
        if len(each.readers) > 1
    ]
    notes += [f"not pruned: {_named(apart)}, {_APART}"] if apart else []
    notes += [f"not pruned, since rows of it are looked up: {_named(tables)}"] if tables else []
    return Opened(Model("onnx", proto, model.source, model.notes), weights, tuple(notes))


_APART = "kept as a sparse tensor or a list of numbers in a node"


def _found(proto: Any) -> tuple[list[_Found], list[_Found]]:
    """The matrices and filters that are multiplied with, and the tables."""
    from weighbridge.formats.onnx_flow import Flow
    from weighbridge.formats.onnx_use import product_readers
    from weighbridge.formats.onnx_weights import keyed_tensors

    flow = Flow(proto)
    weights, tables = [], []
    for key, tensor in keyed_tensors(flow):
        if tensor.unread or not tensor.is_matrix:
            continue
        if tensor.use.role == "weight":
            nodes = tuple(reader.node for reader in product_readers(key, flow))
            weights.append(_Found(tensor, flow.constants[key], nodes))
        elif tensor.use.role == "table":
            tables.append(_Found(tensor, flow.constants[key], ()))
    return weights, tables


def _refuse_codes(chosen: list[_Found]) -> None:
    coded = [each for each in chosen if each.coded]
    if not coded:
        return
    raise StageError(
        "prune",
        f"{_named(coded)} {'is' if len(coded) == 1 else 'are'} quantized already, and integers are not ranked: prune the "
        "float model, then quantize it, or leave the layers to `exclude`",
    )


def _weight(each: _Found, taken: set[str]) -> Weight:
    tensor, (proto,) = each.tensor, each.constant.tensors
    shape, layout = tensor.array.shape, tensor.use.layout
    layout = layout if len(layout) == len(shape) else ""
    group = (0, 0)
    if layout:
        outputs, inputs = shape[layout.index("o")], shape[layout.index("i")]
        groups = max((integer(node, "group", 1) for node in each.readers), default=1)
        turned = tensor.operator == "ConvTranspose"
        group = (outputs, inputs // groups) if turned else (outputs // groups, inputs)
    return Weight(
        free_name(tensor.name, taken),
        tensor.array,
        layout,
        group,
        lambda kept: _keep(proto, kept),
        tensor.stored_bytes,
    )


def _keep(proto: Any, kept: Array) -> None:
    import onnx

    array = onnx.numpy_helper.to_array(proto).copy()
    array[~kept.reshape(array.shape)] = 0
    proto.CopyFrom(onnx.numpy_helper.from_array(array, proto.name))


def _named(found: list[_Found]) -> str:
    return few(f"{each.tensor.name} ({each.tensor.operator})" for each in found)


def _node(node: Any) -> str:
    return str(node.name or node.output[0])
