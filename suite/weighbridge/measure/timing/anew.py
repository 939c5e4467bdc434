"""Whether a call does the work that is timed: as many samples as asked, each anew, and as accuracy has seen them answered.

A model that keeps its answers by their inputs is fast only where inputs repeat, which they do while timing and not in use.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from weighbridge.contracts import Inputs, Session
from weighbridge.core.arrays import Array, is_text
from weighbridge.core.batches import count, items, rebuilt, take
from weighbridge.core.errors import StageError
from weighbridge.core.sessions import FixedBatch
from weighbridge.core.units import show
from weighbridge.measure.invariance import batch_axes
from weighbridge.measure.timing.clock import Call

Outputs: TypeAlias = Mapping[int, Array] | Sequence[Array]
"""By place."""
TIMES = 3
"""So many times faster than any new input no seen one is answered, by caches and branch predictors alone."""
TRIALS = 3
"""All of them must agree: a neighbour's load slows one, what a library prepares at its first calls another, and two draws
may be alike by chance."""
READ, FEW = 64, 8
"""Samples of the batches that accuracy is read in, and of those that a larger one is held against."""
LOST = 0.02
"""Of the samples: a few may stand on the edge of a decision that the model makes inside."""
UNRELATED = 2.0
"""The power of the difference of two answers that have nothing to do with each other, over that of one."""
DRAWN = 10
"""So many times as unlike as two draws are on average no two draws are, even of a single number."""
SHARE = 1 / 20
"""Of the budget, the longest that a trial should take."""
FEWEST = 8
"""Calls of a trial where so many take no longer than `PAUSE_S`, however little `SHARE` of the budget is."""
PAUSE_S = 0.02
"""Seconds: a neighbour takes the core for milliseconds, and must not have each of the new calls by chance."""


def check_batch(name: str, session: Session, batch: Inputs) -> None:
    """Raises `StageError` where the file of `name` is of a larger batch, which a smaller one would be filled up to."""
    filled = session.filled(batch) if isinstance(session, FixedBatch) else 0
    if filled:
        asked = count(batch)
        raise StageError(
            "measure",
            f"the {name} was exported for a fixed batch, so that {filled} samples are computed beside the {asked} that "
            f"would be timed; write `batch: {asked + filled}`, or a multiple of the file's batch",
        )


def lost_in_the_crowd(session: Session, batch: Inputs) -> float:
    """The share of the samples that are answered otherwise in `batch` than among few, beyond any rounding.

    Accuracy is read in batches of `READ`, so a batch that is no larger shows nothing new: 0. So does a model whose outputs
    cannot be told apart by sample. An answer counts where the difference holds more power than an answer does.
    """
    n = count(batch)
    if n <= READ:
        return 0.0
    parts = [session.run(take(batch, slice(start, start + FEW))) for start in range(0, n, FEW)]
    whole = session.run(batch)
    try:
        axes = batch_axes(whole, session.run(take(batch, slice(0, 1))), n)
    except StageError:
        return 0.0
    columns = {place: np.concatenate([part[place] for part in parts], axis) for place, axis in axes.items()}
    return float((_unlikeness(columns, whole, axes, n) > 1).mean())


def lost_in_small_batches(session: Session, many: Inputs, n: int, longest_s: float) -> float:
    """The share of the samples that are answered otherwise in batches of `n`, which are timed, than among `many`, beyond any
    rounding: a branch for small batches is fast there and seen by no accuracy.

    `many` is cut to what takes about `longest_s` seconds. 0 of a model that cannot be told apart by sample or does not run on
    more. Of one that draws its answers only what is `DRAWN` times as unlike as the same batch asked twice counts.
    """
    began = time.perf_counter_ns()
    session.run(take(many, slice(0, n)))
    affordable = int(longest_s / max(time.perf_counter_ns() - began, 1) * 1e9) * n
    many = take(many, slice(0, max(2 * n, min(count(many), affordable) // n * n)))
    if count(many) < 2 * n:
        return 0.0
    share = 1.0
    for _ in range(TRIALS):
        share = min(share, _lost_once(session, many, n))
        if share <= LOST:
            break
    return share


def _lost_once(session: Session, many: Inputs, n: int) -> float:
    seen = min(FEW * n, count(many) // n * n)
    parts = [session.run(take(many, slice(start, start + n))) for start in range(0, seen, n)]
    try:
        whole, again = session.run(many), session.run(many)
        axes = batch_axes(whole, session.run(take(many, slice(0, 1))), count(many))
    except Exception:  # a larger batch was not asked for: whoever needs it says so
        return 0.0
    columns = {place: np.concatenate([part[place] for part in parts], axis) for place, axis in axes.items()}
    first = {place: whole[place].take(np.arange(seen), axis) for place, axis in axes.items()}
    drawn = _unlikeness(again, whole, axes, count(many)).mean()
    return float((_unlikeness(columns, first, axes, seen) > 1 + DRAWN * drawn).mean())


def _unlikeness(one: Outputs, two: Outputs, axes: Mapping[int, int], n: int) -> Array:
    """How much each of `n` samples is answered otherwise, shape [n]: the power of the difference over that of an answer.

    Infinite where a number is finite on one side only; `UNRELATED` where a name is another.
    """
    most = np.zeros(n)
    for place, axis in axes.items():
        a, b = one[place], two[place]
        if a.shape != b.shape:
            return np.zeros(n)
        a, b = (np.moveaxis(value, axis, 0).reshape(n, -1) for value in (a, b))
        if is_text(a):
            most = np.maximum(most, np.where((a != b).any(1), UNRELATED, 0.0))
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(a) & np.isfinite(b)
        noise = np.square(np.subtract(a, b, where=finite, out=np.zeros_like(a))).sum(1)
        power = np.square(a, where=finite, out=np.zeros_like(a)).sum(1).mean()
        beyond = (np.isfinite(a) != np.isfinite(b)).any(1) | ((power == 0) & (noise > 0))
        most = np.maximum(most, np.where(beyond, np.inf, noise / (power or 1.0)))
    return most


def check_crowds(shares: Mapping[str, float], size: int) -> None:
    """Raises `StageError` where the candidate loses its answers in the batch that would be timed, and the baseline does not."""
    lost, before = shares.get("candidate", 0.0), shares.get("baseline", 0.0)
    if lost > LOST >= before:
        raise StageError(
            "measure",
            f"the candidate answers {round(lost * size)} of {size} samples otherwise in a batch of {size} than in batches of "
            f"{FEW}: how fast it is there says nothing. Something in it depends on a sample's place in the batch, such as a "
            f"table or a shape from the batch that it was exported with; export it anew, or time a `batch` of {READ} or less, "
            "which accuracy is read in",
        )


def check_small_batches(shares: Mapping[str, float], size: int) -> None:
    """Raises `StageError` where the candidate answers otherwise in the small batch that would be timed, and the baseline does
    not.
    """
    lost, before = shares.get("candidate", 0.0), shares.get("baseline", 0.0)
    if lost > LOST >= before:
        raise StageError(
            "measure",
            f"the candidate answers {lost:.0%} of the samples otherwise in batches of {size}, which would be timed, than among "
            f"more, as accuracy is read in: how fast it is there says nothing of what was judged. Something in it depends on "
            f"the size of the batch, such as a branch; export it anew, or have the data given in batches of {size}",
        )


def check_answers_anew(name: str, session: Session, batches: Sequence[Inputs], budget_s: float) -> None:
    """Raises `StageError` where batches that were seen before are answered much faster than new ones.

    New ones are mixed of the elements of two of `batches`, so that no earlier measurement has shown them. Nothing is asked
    of a model that does not run on mixtures.
    """
    longest_s = SHARE * budget_s
    warm = session.bind(batches[0])
    call_s = _seconds(warm)
    if call_s < max(longest_s, PAUSE_S):  # what a library prepares at its first call is no part of the next
        call_s = min(call_s, _seconds(warm))
    in_time = min(len(batches), int(longest_s / (2 * call_s)))
    several = max(1, in_time, min(FEWEST, int(PAUSE_S / call_s)))
    faster = []
    for trial in range(TRIALS):
        try:
            faster.append(_times_faster(session, _mixed(batches, several, trial)))
        except Exception:  # whatever an engine raises on inputs that mean nothing
            return
        if faster[-1] < TIMES:
            return
    raise StageError(
        "measure",
        f"the {name} answers inputs that it has seen {show(min(faster), 'ratio')} faster than new ones: it keeps its "
        "answers, so that timing it would not tell how fast it is in use",
    )


def _times_faster(session: Session, batches: Sequence[Inputs]) -> float:
    """The fastest call on a new batch over the median call when they come for the second time."""
    calls = [session.bind(batch) for batch in batches]
    new = [_seconds(call) for call in calls]
    seen = [_seconds(call) for call in calls]
    return min(new) / float(np.median(seen))


def _seconds(call: Call) -> float:
    begin = time.perf_counter_ns()
    call()
    return max(time.perf_counter_ns() - begin, 1) / 1e9


def _mixed(batches: Sequence[Inputs], several: int, seed: int) -> list[Inputs]:
    """Of two batches each, the samples of one turned; whole numbers only where there is nothing else, since lengths and
    offsets mix badly.
    """
    turned = np.roll(np.arange(count(batches[0])), 1)
    random = np.random.default_rng([seed, 5])
    floats = any(array.dtype.kind == "f" for _, array, _ in items(batches[0]))

    def mix(one: Inputs, other: Inputs) -> Inputs:
        def elements(name: str, array: Array, axis: int | None) -> Array:
            if floats and array.dtype.kind != "f":
                return array
            beside = other[name] if isinstance(other, dict) else other[int(name)]
            return np.where(random.random(array.shape) < 0.5, array, beside)

        return rebuilt(one, elements)

    others = [take(batch, turned) for batch in batches]
    pairs = ((index % len(batches), (index + 1) % len(batches)) for index in range(several))
    return [mix(batches[one], others[other]) for one, other in pairs]
