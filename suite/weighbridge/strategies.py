"""Hypothesis strategies for quantizers: tensors, parameters, schemes and models that break careless ones.

from hypothesis import given
from weighbridge import strategies

@given(strategies.tensors(min_dims=2))
def test_mine(x): ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from weighbridge.numerics.elements import Array, Integer
from weighbridge.numerics.quantizer import Quantizer
from weighbridge.numerics.schemes import Parameters, Scheme, all_schemes
from weighbridge.numerics.trial import Trial

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["models", "qparams", "schemes", "tensors", "trials"]

LARGEST = 2.0**120
"""Drawn magnitudes end here, so that scales, ranges and values stay finite in float32."""

_LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "S": lambda x: np.repeat(x, 2, -1)[..., ::2],
}

_SPECIAL = [
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, -1.5, 2.5, 127.0, -128.0, 127.5, -127.5, 128.0, 255.0, 448.0, 57344.0,
    1e-3, -0.1, 0.1, 1 / 3, 1e4, -1e4, 2.0**-149, -(2.0**-149), 2.0**-127, -(2.0**-126), 2.0**-24, 2.0**-9,
]  # fmt: skip


def schemes(where: Callable[[Scheme], bool] = lambda scheme: True) -> SearchStrategy[Scheme]:
    """Schemes of every element and granularity for which `where` holds."""
    chosen = [scheme for scheme in all_schemes() if where(scheme)]
    if not chosen:
        raise ValueError("no scheme satisfies the condition")
    # Elements first: integers, of which there are more variants, would crowd out the floats.
    by_element = {
        scheme.element: [other for other in chosen if other.element == scheme.element] for scheme in chosen
    }
    return st.sampled_from(list(by_element)).flatmap(lambda element: st.sampled_from(by_element[element]))


@st.composite
def tensors(
    draw: DrawFn,
    *,
    min_dims: int = 0,
    max_dims: int = 5,
    max_side: int = 6,
    shape: tuple[int, ...] | None = None,
    finite: bool = True,
) -> Array:
    """float32 tensors: empty axes, 0-d to 5-d, any memory layout; numbers that break quantizers.

    Zeros of both signs, subnormals, a constant or a zero channel, one huge outlier, channels of very different
    sizes, and with `finite=False` NaN and infinities. Finite magnitudes stay under 2**120.
    """
    if shape is None:
        shape = draw(_shapes(min_dims, max_dims, max_side))
    special = _SPECIAL if finite else [*_SPECIAL, np.nan, np.inf, -np.inf]
    numbers = st.one_of(
        st.sampled_from(special),
        st.floats(-8, 8, width=32),
        st.floats(-LARGEST, LARGEST, width=32),
    )
    x = draw(_filled(shape, numbers, np.float32))
    return draw(_laid_out(draw(_structured(x))))


@st.composite
def qparams(draw: DrawFn, scheme: Scheme, shape: tuple[int, ...]) -> Parameters:
    """Scales and zero points for a tensor of `shape`, chosen without looking at it, so that some of it saturates.

    Scales are powers of two (where ties are exact) or arbitrary; zero points are anywhere in the range of codes.
    """
    wanted = scheme.parameter_shape(shape)
    if not scheme.scaled:
        return Parameters(np.ones((), np.float32), np.zeros((), np.int64))
    powers = st.integers(-20, 20).map(lambda k: 2.0**k)
    scales = st.one_of(st.sampled_from([1.0, 0.5, 2.0]), powers, st.floats(2.0**-20, 2.0**20, width=32))
    scale = draw(_filled(wanted, scales, np.float32))
    if scheme.symmetric or not isinstance(scheme.type, Integer):
        return Parameters(scale, np.full(wanted, scheme.middle, np.int64))
    low, high = int(scheme.lowest), int(scheme.highest)
    zero_points = st.one_of(st.integers(low, high), st.sampled_from([low, low + 1, high - 1, high]))
    zero_point = draw(_filled(wanted, zero_points, np.int64))
    return Parameters(scale, zero_point)


def trials(quantizer: Quantizer, scheme: Scheme | None = None) -> SearchStrategy[Trial]:
    """A scheme that `quantizer` supports (unless one is given), a tensor, and in half of them parameters beside it.

    With drawn parameters the tensor is made of codes and fractions of a step: ties, clamps, just beyond.
    """
    offered = schemes(quantizer.supports) if scheme is None else st.just(scheme)
    return offered.flatmap(lambda each: _trials(quantizer, each))


def models(framework: Literal["torch", "onnx"] = "torch") -> SearchStrategy[tuple[Any, Array]]:
    """Small models with drawn weights, and a batch for them: (`nn.Module` in eval mode or `ModelProto`, float32).

    The ONNX graph's input and output are called `x` and `y`, with a free batch size.
    """
    from weighbridge.numerics.small_models import onnx_model, torch_model

    build = {"torch": torch_model, "onnx": onnx_model}[framework]
    sides = st.integers(1, 5)
    kinds = st.lists(st.sampled_from(["dense", "dense", "relu", "norm"]), min_size=1, max_size=4)
    return st.tuples(st.booleans(), kinds, sides, sides, st.integers(0, 2**16)).map(
        lambda drawn: build(
            convolution=drawn[0], layers=drawn[1], width=drawn[2], batch=drawn[3], seed=drawn[4]
        )
    )


@st.composite
def _trials(draw: DrawFn, quantizer: Quantizer, scheme: Scheme) -> Trial:
    shape = draw(_shapes_for(scheme))
    if scheme.axis is not None and scheme.group_size is not None and not quantizer.accepts(scheme, shape):
        shape = _whole_groups(shape, scheme.axis, scheme.group_size)
    assume(quantizer.accepts(scheme, shape))
    if draw(st.booleans()):
        return Trial(quantizer, scheme, draw(tensors(shape=shape)))
    parameters = draw(qparams(scheme, shape))
    codes = draw(_filled(shape, _codes(scheme), np.float64))
    scale, zero_point = parameters.spread(shape, scheme)
    x = np.clip((codes - zero_point) * scale, -LARGEST, LARGEST).astype(np.float32)
    return Trial(quantizer, scheme, draw(_laid_out(x)), parameters)


@st.composite
def _filled(
    draw: DrawFn, shape: tuple[int, ...], numbers: SearchStrategy[Any], dtype: type[np.generic]
) -> Array:
    """An array of a few drawn numbers, in turn or shuffled.

    Drawing each element by itself takes ten times as long, and few failures need more than a few numbers.
    """
    pool = draw(st.lists(numbers, min_size=1, max_size=8))
    array = np.resize(np.array(pool, dtype), shape)
    order = draw(st.integers(0, 63))  # shrinks towards no shuffling
    if order:
        np.random.default_rng(order).shuffle(array.reshape(-1))
    return array


def _shapes(min_dims: int, max_dims: int, max_side: int) -> SearchStrategy[tuple[int, ...]]:
    whole = st.lists(st.integers(1, max_side), min_size=min_dims, max_size=max_dims)
    # One in sixteen is emptied along its last axis: rarely is anything wrong there, but then it is a crash.
    emptied = st.tuples(whole, st.integers(0, 15)).map(
        lambda d: [*d[0][:-1], 0] if d[0] and d[1] == 15 else d[0]
    )
    return emptied.map(tuple).filter(lambda shape: np.prod(shape) <= 256)


@st.composite
def _shapes_for(draw: DrawFn, scheme: Scheme) -> tuple[int, ...]:
    """Shapes that have the scheme's axis; with groups, sides around whole numbers of groups."""
    if scheme.axis is None:
        return draw(st.one_of(_shapes(0, 5, 5), _shapes(1, 2, 12)))
    rank = scheme.axis + 1 if scheme.axis >= 0 else -scheme.axis
    shape = list(draw(_shapes(rank, 5, 4)))
    if scheme.group_size is not None and draw(st.booleans()):
        size = scheme.group_size
        shape = shape[:rank] if size > 4 else shape
        shape[scheme.axis] = draw(st.sampled_from([size, size + 1, 2 * size, 2 * size + 1, max(1, size - 1)]))
    return tuple(shape)


def _whole_groups(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    """`shape` with the side along `axis` rounded up to whole groups."""
    whole = list(shape)
    whole[axis] = -(-shape[axis] // size) * size
    return tuple(whole)


def _codes(scheme: Scheme) -> SearchStrategy[float]:
    """Codes with a fraction, from a little below the range to a little above."""
    low, high = int(scheme.lowest), int(scheme.highest)
    edges = st.sampled_from(
        [low - 2, low - 1, low, low + 1, scheme.middle, high - 1, high, high + 1, high + 2]
    )
    whole = st.one_of(edges, st.integers(low - 2, high + 2), st.integers(-6, 6))
    fraction = st.sampled_from([0.5, 0.5, -0.5, 0.0, 0.25, -0.4375, 0.4990234375, 0.5009765625])
    if isinstance(scheme.type, Integer):
        return st.builds(float.__add__, whole.map(float), fraction)
    # Between neighbouring floats, and among the subnormals.
    smallest = scheme.type.smallest_exponent
    exponent = st.one_of(st.integers(-16, 8), st.integers(smallest - scheme.type.mantissa - 1, smallest))
    mantissa = st.integers(-64, 64).map(lambda k: k / 32)
    return st.one_of(whole.map(float), st.builds(lambda m, e: m * 2.0**e, mantissa, exponent))


@st.composite
def _structured(draw: DrawFn, x: Array) -> Array:
    """`x`, or `x` with a channel of one value, an outlier, or channels of very different sizes."""
    kind = draw(st.sampled_from(["plain", "plain", "constant", "zero", "outlier", "sizes", "positive"]))
    if x.size == 0 or x.ndim == 0 or kind == "plain":
        return x
    axis = draw(st.integers(0, x.ndim - 1))
    channels = np.moveaxis(x, axis, 0)  # a view
    chosen = draw(st.integers(0, len(channels) - 1))
    if kind == "constant":
        channels[chosen] = draw(st.sampled_from([1.0, -3.0, 1e-3, 2.0**-140]))
    elif kind == "zero":
        channels[chosen] = 0
    elif kind == "outlier":
        x.flat[draw(st.integers(0, x.size - 1))] = draw(st.sampled_from([1e6, -1e6, 1e30, -1e30]))
    elif kind == "positive":
        x[...] = np.abs(x) + np.float32(0.25)
    else:
        exponents = draw(_filled((len(channels),), st.integers(-12, 12), np.int64))
        factors = (2.0**exponents).reshape(-1, *[1] * (x.ndim - 1))
        channels[...] = np.clip(channels * factors, -LARGEST, LARGEST)
    return x


def _laid_out(x: Array) -> SearchStrategy[Array]:
    """The same numbers, row-major, column-major, or every other number of a wider buffer."""
    if x.ndim == 0 or x.size == 0:
        return st.just(x)
    return st.sampled_from("CCFS").map(lambda layout: _LAYOUTS[layout](x))
