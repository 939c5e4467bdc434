"""Loads of real sessions, in this process or in fresh ones.

The addresses of a process, and the pages it was given, are drawn once for its life; so models are loaded in fresh ones too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic

from weighbridge.contracts import Session, Weighing
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.measure.timing.anew import (
    READ,
    SHARE,
    check_answers_anew,
    check_batch,
    check_crowds,
    check_small_batches,
    lost_in_small_batches,
    lost_in_the_crowd,
)
from weighbridge.measure.timing.cores import best_cores
from weighbridge.measure.timing.gauge import gauge_for
from weighbridge.measure.timing.load import Conditions
from weighbridge.measure.timing.loads import Elsewhere, L
from weighbridge.measure.timing.nursery import Nursery
from weighbridge.measure.timing.opening import Opener

FRESH_S, FRESH = 60.0, 4
"""Seconds, and times the budget, after which a fresh process is given up: its loads were thought to fit into the budget."""


@dataclass(frozen=True)
class Sampler(Generic[L]):
    """Takes loads by `take`, a function of a module, such as `load.take_pairs`."""

    take: Callable[..., L]
    opener: Opener
    threads: int
    precedence: bool
    budget_s: float

    @classmethod
    def of(
        cls, take: Callable[..., L], weighing: Weighing, sides: Sequence[str], batch: int, budget_s: float
    ) -> Sampler[L]:
        """Of `baseline`, `candidate` or both, on batches of so many samples.

        Raises `StageError` for one that would compute more samples than those, keeps its answers, or gives others in such a
        batch than in a small one, or in a small one than among more.
        """
        opener = Opener.of(weighing, sides, weighing.data.turns(batch))
        lost, small = {}, {}
        for side in opener.sides:
            session = side.open()
            check_batch(side.name, session, opener.batches[0])
            check_answers_anew(side.name, session, opener.batches, budget_s)
            lost[side.name] = lost_in_the_crowd(session, opener.batches[0])
            small[side.name] = _lost_in_small(session, weighing.data, batch, budget_s)
        check_crowds(lost, batch)
        if "baseline" not in small and weighing.baseline is not None and small["candidate"]:
            original = Opener.of(weighing, ("baseline",), ()).sides[0].open()
            small["baseline"] = _lost_in_small(original, weighing.data, batch, budget_s)
        check_small_batches(small, batch)
        return cls(take, opener, weighing.engine_options.threads, weighing.precedence, budget_s)

    def here(self, seed: int, known_s: Sequence[float] | None, best: float | None = None) -> L:
        """`best` is the gauge's, where another process knows it."""
        on_core = partial(best_cores, self.threads, self.precedence)
        under = Conditions(self.budget_s, gauge_for(self.threads, best), on_core)
        return self.take(self.opener, seed, known_s, under)

    @contextmanager
    def elsewhere(self) -> Iterator[Elsewhere[L]]:
        """Loads in fresh processes; none where these cannot open the model, which stays with this one then."""
        packages = sorted({name for side in self.opener.sides for name in side.engine.packages})
        with Nursery(self._there, packages, FRESH_S + FRESH * self.budget_s) as nursery:

            def take(seeds: Sequence[int], known_s: Sequence[float] | None) -> Sequence[L]:
                return nursery(seeds, known_s, gauge_for(self.threads).best) or ()

            yield take

    def _there(self, seeds: Sequence[int], known_s: Sequence[float] | None, best: float) -> Sequence[L]:
        return [self.here(seed, known_s, best) for seed in seeds]


def _lost_in_small(session: Session, data: Data, batch: int, budget_s: float) -> float:
    """As `lost_in_small_batches`; 0 for a batch as large as those that accuracy is read in, or where no more fit in one."""
    if batch >= READ:
        return 0.0
    try:
        many = data.sample(max(READ, 2 * batch))
    except StageError:
        return 0.0
    return lost_in_small_batches(session, many, batch, SHARE * budget_s)
