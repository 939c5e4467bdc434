"""Which float weight a stored one was made of, and in which order of axes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import permutations

import numpy as np

from weighbridge.contracts import StoredTensor
from weighbridge.numerics.codes import spread
from weighbridge.numerics.elements import ELEMENTS, Array

SAME = 0.9
"""The least share of numbers within a step of their float for a stored tensor to be an approximation of it."""
_FOLDED = re.compile(r"^Conv(Bn|Mul)Fusion_W_")
"""How ONNX Runtime calls a weight that it has multiplied by a normalization: its codes are of the products."""
_ADORNED = re.compile(r"^(QLinear|DynamicQuantize|Q(?=[A-Z]))|(Integer(ToFloat)?|NBits)$")


def original_of(
    stored: StoredTensor, floats: Mapping[str, Array], layouts: Mapping[str, str]
) -> tuple[str, Array, bool] | None:
    """Name and numbers of the float that `stored` was made of, in the stored layout, and whether the name tells it.

    One of its own name is the one, whatever its numbers are; where the layouts are known, in the order that these say,
    else as it is. Other names are searched for a tensor that `stored` approximates, in any order of axes; none is the one of
    a product.
    """
    named = floats.get(stored.name)
    if named is not None and named.dtype.kind == "f":
        order = _order(layouts.get(stored.name, ""), stored.use.layout)
        turned = named if order is None else named.transpose(order)
        if turned.shape == stored.array.shape:
            return stored.name, turned.astype(np.float64), True
    if _FOLDED.match(
        stored.name
    ):  # of a factor near 1 the float passes for it, and its ties go the other way
        return None
    return _approximated(stored, floats)


def _order(before: str, after: str) -> list[int] | None:
    """The axes of a layout in the order of another; None where one is not known."""
    if not before or sorted(before) != sorted(after):
        return None
    return [before.index(axis) for axis in after]


def _approximated(stored: StoredTensor, floats: Mapping[str, Array]) -> tuple[str, Array, bool] | None:
    values, step = stored.values().astype(np.float64), np.abs(step_of(stored))
    # Every so many numbers along each axis are enough to tell weights apart.
    some = tuple(slice(None, None, max(1, side // 8)) for side in values.shape)
    for name, original in floats.items():
        if sorted(original.shape) != sorted(values.shape) or original.dtype.kind != "f" or not original.size:
            continue
        if abs(np.abs(original).max() - np.abs(values).max()) > 2 * step.max():
            continue
        for turned in _turned(original, values.shape):
            if np.mean(np.abs(turned[some] - values[some]) <= step[some]) > SAME:
                return name, turned.astype(np.float64), False
    return None


def same_numbers(one: StoredTensor, other: StoredTensor) -> bool:
    """Whether two stored tensors stand for the same numbers, in any order of axes, as far as their steps let them."""
    first, second = (tensor.values().astype(np.float64) for tensor in (one, other))
    steps = [
        np.abs(step_of(tensor)) if tensor.quantization else np.zeros(tensor.array.shape)
        for tensor in (one, other)
    ]
    if abs(np.abs(first).max() - np.abs(second).max()) > steps[0].max() + steps[1].max() or not first.any():
        return False
    turned = zip(_turned(first, second.shape), _turned(steps[0], second.shape), strict=True)
    return any(np.mean(np.abs(values - second) <= step + steps[1]) > SAME for values, step in turned)


def _turned(original: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    for order in permutations(range(original.ndim)):
        turned = original.transpose(order)
        if turned.shape == shape:
            yield turned


def share_within(stored: StoredTensor, original: Array) -> float:
    """The share of numbers that lie within a step of their float, or are cut off at the end of the range."""
    values, step = stored.values().astype(np.float64), np.abs(step_of(stored))
    cut_off = (
        (np.abs(original) > np.abs(values)) & (np.abs(values) >= np.abs(values).max() - step) & (values != 0)
    )
    return float(np.mean((np.abs(original - values) <= step) | cut_off))


def step_of(stored: StoredTensor) -> Array:
    """How far a right value may be from its float: a step of the scale, or of the reduced float."""
    quantization = stored.quantization
    assert quantization is not None
    if quantization.scheme == "affine":
        shape = stored.array.shape
        scale = spread(quantization.scale, shape, quantization.axis, quantization.group_size)
        return np.broadcast_to(scale, shape).astype(np.float64)
    values = stored.values().astype(np.float64)
    element = ELEMENTS.get(quantization.scheme, ELEMENTS["float8_e5m2"])
    return element.spacing(values)


def family(operator: str) -> str:
    """An operator's name without what quantizing adds to it: MatMul of MatMulInteger, Conv of QLinearConv."""
    return _ADORNED.sub("", operator)
