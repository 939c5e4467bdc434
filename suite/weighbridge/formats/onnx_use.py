"""What an ONNX graph does with a constant: multiplies by it, looks rows up in it, adds it; and in which layout."""

from __future__ import annotations

from weighbridge.contracts import Role, Use
from weighbridge.formats.onnx_codes import source
from weighbridge.formats.onnx_flow import Flow, Key, Path, Reader
from weighbridge.formats.onnx_operators import (
    CARRIERS,
    STANDARD,
    TABLES,
    attributes,
    is_bias,
    is_known,
    is_product,
    layout,
)

ARITHMETIC = {"Mul": (0, 1), "Div": (0,), "Sub": (0,), "Add": (0, 1)}
"""How a graph dequantizes by hand, and where the codes stand."""
_BOTH_WAYS = ("QuantizeLinear", "DequantizeLinear")


def carries(reader: Reader, path: Path, flow: Flow) -> bool:
    """Whether the numbers come out of this operator as they went in, or shifted and scaled as dequantizing does."""
    node, position = reader.node, reader.position
    if node.domain not in STANDARD:
        return False
    if node.op_type == "Cast":
        import onnx

        return attributes(node)["to"].i not in (onnx.TensorProto.BOOL, onnx.TensorProto.STRING)
    if node.op_type == "Concat":
        return is_fixed(reader, flow)
    if position in CARRIERS.get(node.op_type, ()):
        return True
    cast = any(step.node.op_type in ("Cast", "CastLike") for step in path)
    return cast and position in ARITHMETIC.get(node.op_type, ()) and other(reader, flow) is not None


def other(reader: Reader, flow: Flow) -> Key | None:
    """The other operand of two, where it is stored."""
    return source(flow.key(reader.node.input[1 - reader.position], reader.scope), flow)


def is_fixed(reader: Reader, flow: Flow) -> bool:
    """Whether all that the operator takes is stored, so that its result is always the same."""
    return all(key is None or key in flow.derived for key in flow.inputs(reader.node, reader.scope))


def use_of(key: Key, rank: int, flow: Flow) -> tuple[str, Use]:
    """The operator that calculates with the constant, and how.

    One that is looked up anywhere is a table, since that is how quantizers treat it, and then one that is multiplied
    anywhere is a weight.
    """
    operator, inner = "", True
    roles: set[Role] = set()
    layouts: set[str] = set()
    biases: set[str] = set()

    def onward(reader: Reader, path: Path) -> bool:
        return _goes_on(reader, path, flow)

    for reader, path in flow.follow(key, onward):
        node, position = reader.node, reader.position
        if is_product(node, position):
            inner = inner and reader.scope.index != 0
            operator = operator if "weight" in roles else node.op_type
            roles.add("weight")
            layouts.add(_turned(layout(node, position, rank), path))
            biases |= _bias(reader, flow)
        elif not onward(reader, path):
            operator = operator or node.op_type
            looked_up = is_known(node) and position in TABLES.get(node.op_type, ())
            roles.add("table" if looked_up else "bias" if is_bias(node, position) else "operand")
    ranked: tuple[Role, ...] = ("table", "weight", "bias", "operand")
    role: Role = next((role for role in ranked if role in roles), "operand")
    return operator, Use(role, _only(layouts), _only(biases), inner and role == "weight")


def product_readers(key: Key, flow: Flow) -> list[Reader]:
    """The operators that multiply with the constant, each once, in whatever shape, order or scale it reaches them."""
    found = {
        id(reader.node): reader
        for reader, _ in flow.follow(key, lambda reader, path: _goes_on(reader, path, flow))
        if is_product(reader.node, reader.position)
    }
    return list(found.values())


def _goes_on(reader: Reader, path: Path, flow: Flow) -> bool:
    """Whether the weight is the same one behind this operator: moved, scaled, or quantized and back."""
    node = reader.node
    if reader.position in TABLES.get(node.op_type, ()):
        return False
    scaled = node.op_type in ("Mul", "Div") and is_fixed(reader, flow)
    both_ways = node.op_type in _BOTH_WAYS and reader.position == 0
    return both_ways or scaled or carries(reader, path, flow)


def _only(found: set[str]) -> str:
    """What all readers agree on."""
    return next(iter(found)) if len(found) == 1 else ""


def _turned(axes: str, path: Path) -> str:
    """The layout before the Transposes on the way; empty where something else changed the axes."""
    for step in reversed(path):
        if step.node.op_type == "Transpose":
            perm = attributes(step.node).get("perm")
            order = list(range(len(axes)))[::-1] if perm is None else list(perm.ints)
            if sorted(order) != list(range(len(axes))):
                return ""
            axes = "".join(axes[order.index(axis)] for axis in range(len(axes)))
        elif step.node.op_type not in ("Identity", "Cast", "Mul", "Div", *_BOTH_WAYS):
            return ""
    return axes


def _bias(reader: Reader, flow: Flow) -> set[str]:
    """The name of what the operator adds to its product, where that is stored."""
    position = next((at for at in range(len(reader.node.input)) if is_bias(reader.node, at)), None)
    if position is None or not reader.node.input[position]:
        return set()
    key = flow.key(reader.node.input[position], reader.scope)
    if key in flow.makers and flow.makers[key][0].op_type == "DequantizeLinear":
        node, scope = flow.makers[key]
        key = flow.key(node.input[0], scope)
    found = source(key, flow)
    return set() if found is None else {flow.constants[found].name.removesuffix("_quantized")}
