"""What the stored integers of an ONNX model stand for: their scale and zero point, in the layout in which they are stored.

Between the codes and the operator that dequantizes them may stand others that only move numbers; integer products leave
their scale to a multiplication further down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weighbridge.contracts import Quantization
from weighbridge.formats.onnx_constants import BITS, Constant, width
from weighbridge.formats.onnx_flow import Flow, Key, Path, Reader
from weighbridge.formats.onnx_operators import CARRIERS, PACKED, SAME_AXES, Slot, attributes, integer
from weighbridge.formats.onnx_packed import unpack

if TYPE_CHECKING:
    from weighbridge.contracts import Array


class Unread(Exception):
    """What the numbers stand for cannot be told; the text says why."""


def read_slot(
    constant: Constant, reader: Reader, slot: Slot, path: Path, flow: Flow
) -> tuple[Array, Quantization]:
    """Codes and quantization of a constant that an operator takes as `slot`; raises `Unread`."""
    scale_key, zero_key = scale_of(reader, slot, flow), _input(reader, slot.zero, flow)
    scale, zero = (None if key is None else _array(key, flow) for key in (scale_key, zero_key))
    if reader.node.op_type in PACKED:
        if path:
            raise Unread("its packed codes are moved before they are read")
        if scale is None:
            raise Unread(f"{reader.node.op_type} has no scales for it")
        return unpack(constant, reader.node, scale, zero)
    array = constant.array()
    bits = width(constant.dtype)
    scheme = "affine" if constant.dtype in BITS else constant.dtype
    if scale is None:
        import numpy as np

        scale = np.ones((), np.float32)
    group = (
        integer(reader.node, "block_size", 0)
        if scale.ndim > 1 or reader.node.op_type.endswith("Fp8Weight")
        else 0
    )
    if group:
        axis = integer(reader.node, "axis", 1) % array.ndim
        if any(step.node.op_type != "Identity" for step in path):
            raise Unread("its blocks are moved before they are dequantized")
        points = _zeros(scale, constant.dtype) if zero is None else zero
        return array, Quantization(bits, scale, points, axis, group, scheme)
    axis = _axis(reader, slot, array.ndim)
    scale = _placed(scale, axis, array.shape, path, reader)
    zero = None if zero is None else _placed(zero, axis, array.shape, path, reader)
    return array, broadcast(array.shape, bits, scale, zero, scheme)


def read_bias(constant: Constant, reader: Reader, flow: Flow) -> tuple[Array, Quantization]:
    """An int32 bias in units of the product of its operator's two input scales; ones where these are not stored."""
    import numpy as np

    array = constant.array()
    scale = np.ones((), np.float32)
    for position in (1, 4):
        key = _input(reader, position, flow)
        factor = None if key is None else _array(key, flow)
        if factor is not None and factor.size in (1, array.shape[-1] if array.ndim else 1):
            scale = scale * np.squeeze(factor)
    shape = (1,) * (array.ndim - 1) + (-1,) if scale.ndim else ()
    return array, broadcast(array.shape, 32, scale.reshape(shape), None)


def read_arithmetic(
    constant: Constant, path: Path, last: Reader, flow: Flow
) -> tuple[Array, Quantization, list[Key]]:
    """Codes that the graph itself casts, shifts and scales: (Cast(codes) - zero point) * scale; and where these stand.

    `path` ends before `last`, which multiplies by the scale or is the product that takes the codes as they are.
    """
    import numpy as np

    array, parts = constant.array(), [*path, last]
    scale: Array | None = None
    zero: Array | None = None
    used: list[Key] = []
    moves: list[Reader] = []
    for step in parts:
        kind = step.node.op_type
        if kind not in ("Sub", "Add", "Mul", "Div"):
            moves.append(step)
            continue
        key = source(flow.key(step.node.input[1 - step.position], step.scope), flow)
        if key is None:
            raise Unread(f"{kind} takes it with a number that the graph calculates")
        used.append(key)
        value = _aligned(flow.constants[key].array(), array.shape, tuple(moves), step)
        if kind in ("Sub", "Add"):
            if scale is not None or zero is not None:
                raise Unread("it is shifted more than once")
            zero = value if kind == "Sub" else -value
        else:
            factor = value if kind == "Mul" else 1 / value
            scale = factor if scale is None else scale * factor
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    bits = BITS.get(constant.dtype) or 8 * array.dtype.itemsize
    scale = np.ones((), np.float32) if scale is None else scale.astype(np.float32)
    return array, broadcast(array.shape, bits, scale, zero), used


def source(key: Key, flow: Flow) -> Key | None:
    """The constant whose numbers the value holds, seen through calls and operators that only move them."""
    while key not in flow.constants:
        if key in flow.origin and key not in flow.makers:
            key = flow.origin[key]
            continue
        if key not in flow.makers or key not in flow.derived:
            return None
        node, scope = flow.makers[key]
        if node.op_type not in CARRIERS or not node.input:
            return None
        key = flow.key(node.input[0], scope)
    return key


def scale_of(reader: Reader, slot: Slot, flow: Flow) -> Key | None:
    """Where the scale stands: an input, or for integer products a factor of what their result is multiplied by."""
    if slot.scale is not None or reader.node.op_type in PACKED:
        return _input(reader, slot.scale, flow)
    for output in reader.node.output[:1]:
        for later, _ in flow.follow(
            (reader.scope.index, output), lambda step, path: step.node.op_type == "Cast"
        ):
            if later.node.op_type == "Mul":
                other = flow.key(later.node.input[1 - later.position], later.scope)
                return _factor(other, 0 if slot.codes == 0 else 1, flow)
    return None


def _factor(key: Key, which: int, flow: Flow) -> Key | None:
    """Of a product of an activation's and a weight's scale, in this order, the one that is stored."""
    found = source(key, flow)
    if found is not None:
        return found
    while key in flow.makers:
        node, scope = flow.makers[key]
        if node.op_type == "Mul":
            sides = [source(flow.key(name, scope), flow) for name in node.input]
            return sides[which] if None not in sides else next((side for side in sides if side), None)
        if node.op_type not in CARRIERS:
            return None
        key = flow.key(node.input[0], scope)
    return None


def broadcast(
    shape: tuple[int, ...], bits: int, scale: Array, zero: Array | None, scheme: str = "affine"
) -> Quantization:
    """A scale and a zero point that broadcast against codes of `shape`, as one a tensor, a channel, or a group."""
    import numpy as np

    if zero is None:
        zero = _zeros(scale, "int32")
    both = np.broadcast_shapes(scale.shape, zero.shape)
    full = (1,) * (len(shape) - len(both)) + both
    if len(full) > len(shape) or any(size not in (1, side) for size, side in zip(full, shape, strict=False)):
        raise Unread(f"its scales, shape {both}, do not fit its shape {shape}")
    varying = [axis for axis, size in enumerate(full) if size > 1]
    scale, zero = (np.broadcast_to(value, both).reshape(full) for value in (scale, zero))
    if not varying:
        return Quantization(bits, scale.reshape(()), zero.reshape(()), scheme=scheme)
    if len(varying) == 1:
        return Quantization(bits, scale.reshape(-1), zero.reshape(-1), varying[0], scheme=scheme)
    constant = [axis for axis, size in enumerate(full) if size == 1 and shape[axis] > 1]
    if len(constant) > 1:
        raise Unread(f"its scales vary along axes {varying} of its shape {shape}")
    along = constant[0] if constant else len(shape) - 1
    return Quantization(bits, scale, zero, along, shape[along] if constant else 1, scheme)


def _axis(reader: Reader, slot: Slot, rank: int) -> int:
    """The axis of a scale of one dimension."""
    kind = reader.node.op_type
    if kind == "DequantizeLinear":
        return integer(reader.node, "axis", 1) % max(rank, 1)
    if kind in ("QLinearConv", "ConvInteger"):
        return 0
    if kind == "QGemm" and integer(reader.node, "transB", 0):
        return 0
    return max(rank - 1, 0)


def _placed(value: Array, axis: int, shape: tuple[int, ...], path: Path, reader: Reader) -> Array:
    """Scales or zero points as an operator takes them, shaped to broadcast against the stored codes."""
    if value.size == 1:
        return value.reshape(())
    if reader.node.op_type == "DynamicQuantizeLSTM":  # [directions], or [directions, 4 * hidden]
        return value.reshape(value.shape[0], 1, -1)
    if value.ndim > 1:
        return _aligned(value, shape, path, reader)
    along = [1] * len(shape)
    along[axis if axis < len(along) else 0] = -1
    return _aligned(value.reshape(along), shape, path, reader)


def _aligned(value: Array, shape: tuple[int, ...], path: Path, reader: Reader) -> Array:
    """Undo what `path` did to the axes. Where that is not known, the only axis of a fitting size is the one."""
    if value.size == 1:
        return value.reshape(())
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = value[0]
    moves = [step.node for step in path if step.node.op_type not in SAME_AXES]
    if all(node.op_type == "Transpose" for node in moves) and value.ndim <= len(shape):
        value = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
        for node in reversed(moves):
            order = (
                list(attributes(node)["perm"].ints) if "perm" in attributes(node) else range(len(shape))[::-1]
            )
            value = value.transpose([order.index(axis) for axis in range(len(shape))])
        return value
    fitting = [axis for axis, side in enumerate(shape) if side == value.size]
    if len(fitting) != 1:
        names = ", ".join(node.op_type for node in moves)
        raise Unread(
            f"{names} stands between it and {reader.node.op_type}, whose {value.size} scales fit no one axis"
        )
    along = [1] * len(shape)
    along[fitting[0]] = -1
    return value.reshape(along)


def _zeros(scale: Array, dtype: str) -> Array:
    import numpy as np

    return np.zeros(scale.shape, np.uint8 if dtype.startswith("u") else np.int32)


def _input(reader: Reader, position: int | None, flow: Flow) -> Key | None:
    """The constant at a position; None where the input is left out. Raises `Unread` where the graph calculates it."""
    names = reader.node.input
    if position is None or position >= len(names) or not names[position]:
        return None
    key = source(flow.key(names[position], reader.scope), flow)
    if key is None:
        raise Unread(
            f"the graph calculates input {position} of {reader.node.op_type}, its scale or zero point"
        )
    return key


def _array(key: Key, flow: Flow) -> Array:
    import numpy as np

    return np.asarray(flow.constants[key].array())
