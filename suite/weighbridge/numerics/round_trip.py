"""What an artifact really holds, read back and compared with what the recipe asked for. Pure functions of tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from weighbridge.contracts import Promise, StoredTensor
from weighbridge.core.listed import few
from weighbridge.numerics import reference
from weighbridge.numerics.codes import granularity, spread
from weighbridge.numerics.elements import ELEMENTS, Array
from weighbridge.numerics.findings import Finding, Weight, left_in_float, misplaced, widened
from weighbridge.numerics.matching import original_of
from weighbridge.numerics.schemes import Parameters
from weighbridge.numerics.trial import ROUNDINGS, UNIT

GRANULARITY = {"per_tensor": "per-tensor", "per_channel": "per-channel", "per_group": "per-group"}
SCALE_TOLERANCE = 0.01
"""Scales may be kept in bfloat16 (half a unit in its 8 bits is 0.4 %), and a zero point near the middle hides
whether the affine or the symmetric formula was used, which differ by one code in 255."""


@dataclass(frozen=True)
class ReadBack:
    """The weights of an artifact and what is wrong with them."""

    weights: tuple[Weight, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = field(default=())


def read_back(
    stored: Iterable[StoredTensor],
    floats: Mapping[str, Array],
    promise: Promise,
    partial: bool = False,
    layouts: Mapping[str, str] | None = None,
    exclude: Sequence[str] | None = (),
    left: Collection[str] = (),
) -> ReadBack:
    """Compare the quantized matrices and filters of an artifact with `promise` and with the weights they came from.

    `floats` are the weights before quantization and `layouts` their `Use.layout`, by any names: where names differ, a
    stored weight is matched with the one that it approximates. What `promise` leaves open is not
    checked. With `partial` the promise is about the weights among `floats` only: another step made the others. `exclude`
    holds the patterns that were to stay in float, and `left` the names of further weights; None where what stayed is not
    to be judged.

    The promise is about weights (`Use.role`): tables, biases and operands are quantized as activations are, or not at
    all. Their numbers are compared all the same.
    """
    every = [tensor for tensor in stored if tensor.array.size]
    tensors = [tensor for tensor in every if tensor.is_matrix and not tensor.unread]
    named = {tensor.name: tensor for tensor in every}
    coded = [
        _weight(tensor, floats, layouts or {}, named) for tensor in tensors if tensor.quantization is not None
    ]
    if partial:
        coded = [weight for weight in coded if weight.original is not None]
    asked = promise.element
    if not coded:
        return ReadBack((), (Finding("the artifact", f"asked for weights of {asked}, none is quantized"),))
    weights = tuple(weight for weight in coded if weight.stored.use.role == "weight")
    findings = [finding for weight in weights for check in CHECKS for finding in check(weight, promise)]
    findings += [finding for weight in coded for finding in misplaced(weight, promise)]
    plain = [tensor for tensor in tensors if tensor.quantization is None and tensor.array.dtype.kind == "f"]
    if exclude is not None and not partial:
        findings += left_in_float(plain, weights, asked, exclude, left)
    lost = [weight.layer for weight in weights if weight.original is None]
    notes = []
    if lost:
        notes.append(
            f"{few(lost)}: no weight of the model before quantization is like it, so codes were not compared"
        )
    if plain:
        notes.append(f"{few(tensor.name for tensor in plain)}: left in float")
    return ReadBack(weights, tuple(findings), tuple(notes))


def _weight(
    stored: StoredTensor,
    floats: Mapping[str, Array],
    layouts: Mapping[str, str],
    named: Mapping[str, StoredTensor],
) -> Weight:
    assert stored.quantization is not None
    name, original, told = original_of(stored, floats, layouts) or (stored.name, None, False)
    bias = named.get(stored.use.bias)
    return Weight(stored.layer or name, stored, stored.quantization, original, told, bias)


# --------------------------------------------------------------------------------------------- the promise


def _bits(weight: Weight, promise: Promise) -> Iterator[Finding]:
    """The width, or the reduced float, that was asked for."""
    wanted, got = promise.bits, weight.quantization.bits
    if wanted is not None and got != wanted:
        yield Finding(weight.layer, f"asked for {wanted} bits, got {got}")
    if promise.dtype not in (None, weight.quantization.scheme):
        yield Finding(weight.layer, f"asked for {promise.dtype}, got {weight.stored.dtype}")
    signed = promise.signed
    if signed is not None and weight.scheme is not None and weight.scheme.type.signed != signed:
        kinds = ("unsigned", "signed")
        yield Finding(weight.layer, f"asked for {kinds[signed]} codes, got {kinds[not signed]}")


def _granularity(weight: Weight, promise: Promise) -> Iterator[Finding]:
    """Per-tensor, per-channel or groups, as asked. One channel is both per-tensor and per-channel."""
    group, axis = weight.quantization.group_size, weight.quantization.axis
    shape = weight.stored.array.shape
    got = GRANULARITY[granularity(weight.quantization, shape)]
    if (
        axis is not None and weight.stored.use.layout[axis : axis + 1] == "d"
    ):  # one scale a direction of a recurrent layer
        got = "per-tensor"
    got = f"per-group of {group}" if got == "per-group" else got
    if promise.granularity == "group":
        wanted = f"per-group of {promise.group_size}"
        if promise.group_size != group:
            yield Finding(weight.layer, f"asked for {wanted}, got {got}")
    elif promise.granularity is not None:
        wanted = f"per-{promise.granularity}"
        single = weight.quantization.scale.size == 1 and 1 in (shape[0], shape[-1])
        if got != wanted and not single:
            yield Finding(weight.layer, f"asked for {wanted}, got {got}")


def _zero_points(weight: Weight, promise: Promise) -> Iterator[Finding]:
    """Symmetric weights have the middle of the codes as zero point."""
    if promise.symmetric and weight.scheme is not None and not weight.scheme.symmetric:
        zero_points = np.atleast_1d(weight.quantization.zero_point)
        where = np.argwhere(zero_points != weight.scheme.middle)[0]
        channel = None if weight.quantization.axis is None else int(where[0])
        at = "" if channel is None else f" in channel {channel}"
        yield Finding(
            weight.layer,
            f"asked for symmetric, got zero point {zero_points[tuple(where)]}{at}, not {weight.scheme.middle}",
            channel=channel,
        )


def _pattern(weight: Weight, promise: Promise) -> Iterator[Finding]:
    """At least N zeros in every M codes, along one of the axes: layouts differ in which one the inputs are."""
    if promise.pattern is None:
        return
    zeros, run = (int(number) for number in promise.pattern.split(":"))
    parameters = spread(weight.quantization.zero_point, weight.stored.array.shape, weight.quantization.axis,
                        weight.quantization.group_size)  # fmt: skip
    is_zero = weight.stored.array == parameters
    axes = [axis for axis, side in enumerate(is_zero.shape) if side % run == 0]
    runs = (np.moveaxis(is_zero, axis, -1).reshape(-1, run).sum(1) for axis in axes)
    if not any(np.all(found >= zeros) for found in runs):
        yield Finding(
            weight.layer, f"asked for {zeros} zeros in every {run} weights, along no axis it has them"
        )


# --------------------------------------------------------------------------------------------- the numbers


def _codes(weight: Weight, promise: Promise) -> Iterator[Finding]:
    """Scales are positive and finite, codes fit their width. Where all numbers of a scale are zeros, it may be zero too."""
    scale = weight.quantization.scale
    if not np.all(np.isfinite(scale) & (scale > 0)) and not _of_zeros(weight):
        yield Finding(weight.layer, f"a scale is not positive and finite: {float(np.min(scale)):g}")
    scheme = weight.scheme
    if scheme is not None:
        outside = (weight.stored.array < scheme.lowest) | (weight.stored.array > scheme.highest)
        if outside.any():
            index = _first(outside)
            code = weight.stored.array[index]
            yield _at(weight, index, f"code {code} is outside [{scheme.lowest:g}, {scheme.highest:g}]")


def _of_zeros(weight: Weight) -> bool:
    """Whether the scales that are not positive are zero, and so are the floats that they stand for."""
    if weight.original is None or weight.scheme is None:
        return False
    shape = weight.original.shape
    scale = np.broadcast_to(_parameters(weight).spread(shape, weight.scheme)[0], shape)
    unsound = ~(np.isfinite(scale) & (scale > 0))
    return not scale[unsound].any() and not weight.original[unsound].any()


def _nearest(weight: Weight, promise: Promise) -> Iterator[Finding]:
    """Every number is stored as the code nearest to it, or next to it, or as an extreme code past the range."""
    scheme = weight.scheme
    if weight.original is None or scheme is None or not promise.nearest:
        return
    scale, zero_point = _parameters(weight).spread(weight.original.shape, scheme)
    codes = weight.stored.array.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = weight.original / scale
    slack = ROUNDINGS * UNIT * (np.abs(ratio) + np.abs(zero_point))
    off = np.abs(ratio - (codes - zero_point)) - slack
    # One code from the end: symmetric quantizers leave the lowest code unused.
    low, high = scheme.lowest + 1 - zero_point, scheme.highest - zero_point
    beyond = ((ratio < low) & (codes <= scheme.lowest + 1)) | ((ratio > high) & (codes == scheme.highest))
    wrong = (off > promise.within) & ~beyond
    if wrong.any():
        index = np.unravel_index(int(np.argmax(np.where(wrong, off, 0))), wrong.shape)
        place = tuple(int(i) for i in index)
        stored = float((codes[place] - np.broadcast_to(zero_point, codes.shape)[place])
                       * np.broadcast_to(scale, codes.shape)[place])  # fmt: skip
        far = "half a step" if promise.within == 0.5 else f"{promise.within:g} steps"
        yield _at(
            weight,
            place,
            f"value {float(weight.original[place]):.9g} is stored as code {codes[place]:g} ({stored:.9g}), more "
            f"than {far} away; so are {int(wrong.sum())} of {wrong.size} numbers",
        )


def _rounded(weight: Weight, promise: Promise) -> Iterator[Finding]:
    """A reduced float is the one nearest to its number, of the two where it is in the middle."""
    element = ELEMENTS.get(weight.quantization.scheme)
    if weight.original is None or element is None or not promise.nearest:
        return
    values = weight.stored.values().astype(np.float64)
    finite = np.abs(weight.original) <= element.highest  # beyond, libraries give the largest, or infinity
    with np.errstate(invalid="ignore"):
        wrong = finite & ~(np.abs(values - weight.original) <= element.spacing(weight.original) / 2)
    if wrong.any():
        place = _first(wrong)
        yield _at(
            weight,
            place,
            f"value {float(weight.original[place]):.9g} is stored as {float(values[place]):.9g}, which is not the nearest "
            f"{weight.quantization.scheme}; so are {int(wrong.sum())} of {wrong.size} numbers",
        )


def _scales(weight: Weight, promise: Promise) -> Iterator[Finding]:
    """The scale is the reference's for these weights.

    Conventions differ by one code at either end (127, 127.5 or 128 steps to the largest weight): a scale may lie
    between those of one code less and one code more.
    """
    scheme = weight.scheme
    if weight.original is None or scheme is None or not promise.minmax:
        return
    codes = scheme.highest - scheme.lowest
    wanted = reference.choose(weight.original, scheme).scale.astype(np.float64)
    if promise.reduce_range:
        wanted = wanted * codes / (codes // 2)
        codes //= 2
    got = np.broadcast_to(weight.quantization.scale, wanted.shape)
    ratio = got / wanted
    low, high = codes / (codes + 1) - SCALE_TOLERANCE, codes / (codes - 1) + SCALE_TOLERANCE
    wrong = ((ratio < low) | ((ratio > high) & ~widened(weight, wanted.shape))) & (
        wanted > 1e-7
    )  # zeros take any scale
    if wrong.any():
        place = _first(wrong)
        channel = place[0] if scheme.axis is not None and scheme.group_size is None else None
        at = "" if channel is None else f" of channel {channel}"
        effect = "the largest weights are cut off" if ratio[place] < 1 else "codes are left unused"
        yield Finding(
            weight.layer,
            f"scale {got[place]:.6g}{at}, where its weights need {wanted[place]:.6g}: {effect}",
            channel=channel,
        )


CHECKS: tuple[Callable[[Weight, Promise], Iterator[Finding]], ...] = (
    _bits,
    _granularity,
    _zero_points,
    _pattern,
    _codes,
    _nearest,
    _rounded,
    _scales,
)


def _parameters(weight: Weight) -> Parameters:
    """The stored parameters in the scheme's shape: runtimes keep one where a tensor or channel needs one."""
    scheme = weight.scheme
    assert scheme is not None
    shape = scheme.parameter_shape(weight.stored.array.shape)
    scale = np.broadcast_to(np.asarray(weight.quantization.scale), shape)
    return Parameters(scale, np.broadcast_to(np.asarray(weight.quantization.zero_point), shape))


def _first(mask: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(mask)[0])


def _at(weight: Weight, index: tuple[int, ...], message: str) -> Finding:
    axis = weight.quantization.axis
    channel = None if axis is None else index[axis]
    place = f"index {index}" if channel is None else f"channel {channel}, index {index}"
    return Finding(weight.layer, f"{place}: {message}", index, channel)
