"""Optuna, as a search asks it: an SQLite file of trials that outlives the process, whenever that ends.

A trial carries its recipe and the row of what became of it, so that a later call has all of them without running one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.core.errors import UsageError, first_line
from weighbridge.core.results import CaseResult, read_result
from weighbridge.environment.extras import OPTUNA, load
from weighbridge.environment.quiet import quiet
from weighbridge.propose.rewritten import Step

FILE = "study.sqlite"
STARTUP = 10
"""Trials, those that are known to be worth a try among them, before what is chosen follows what was seen."""
BROKEN = 1e3
"""How far what could not be carried out is from its limits."""
_RECIPE, _CHOSEN, _ROW, _MISSED = "recipe", "chosen", "row", "missed"
_EARLY, _AGAIN, _WORST = "early", "again", "worst"


@dataclass(frozen=True)
class Tried:
    """A trial that came to an end."""

    number: int
    recipe: tuple[Step, ...]
    result: CaseResult
    early: int | None
    """The samples after which it was ended, since it was hopeless; None where it was not."""


class Study:
    """The trials of one case, model, data and space; with another of these, another study in the same file begins."""

    def __init__(self, folder: Path, name: str, objectives: int, seed: int) -> None:
        """Raises `Unavailable` where Optuna is absent, `UsageError` where the file is none of its."""
        self._optuna = load(OPTUNA)
        folder.mkdir(parents=True, exist_ok=True)
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        try:
            with quiet():
                storage = self._optuna.storages.RDBStorage(f"sqlite:///{folder / FILE}")
                self._study = self._optuna.create_study(
                    storage=storage,
                    study_name=name,
                    directions=["minimize"] * objectives,
                    load_if_exists=True,
                )
                # What was seen is read from the file; the seed moves on, or the same would be drawn again.
                seed += len(self._study.trials)
                self._by_chance = self._optuna.samplers.RandomSampler(seed)
                self._following = self._optuna.samplers.TPESampler(
                    n_startup_trials=STARTUP,
                    seed=seed,
                    constraints_func=lambda trial: [trial.user_attrs.get(_MISSED, BROKEN)],
                )
        except Exception as error:  # SQLAlchemy's, alembic's, Optuna's own
            raise UsageError(
                f"{folder / FILE} cannot be read as Optuna's ({first_line(error)}); move it away, and the search begins anew"
            ) from error
        self._put_back_what_ran()

    @property
    def begun(self) -> bool:
        return bool(self._study.trials)

    def enqueue(self, recipe: Sequence[Step], parameters: Mapping[str, Any] | None) -> None:
        """To be tried before anything is chosen. Without parameters nothing is learned of it for other recipes."""
        with quiet():
            attributes = {_RECIPE: json.dumps(list(recipe)), _CHOSEN: bool(parameters)}
            self._study.enqueue_trial(dict(parameters or {}), user_attrs=attributes)

    def ask(self, by_chance: bool = False) -> Any:
        """The next trial; `by_chance`, without regard to what was seen."""
        self._study.sampler = self._by_chance if by_chance else self._following
        with quiet():
            return self._study.ask()

    def recipe_of(self, trial: Any) -> tuple[Step, ...] | None:
        """The recipe that the trial was enqueued with."""
        text = trial.user_attrs.get(_RECIPE)
        return None if text is None else tuple(json.loads(text))

    def was_chosen(self, trial: Any) -> bool:
        """Whether the recipe that the trial was enqueued with is one of the space: what it chooses again is then given."""
        return bool(trial.user_attrs.get(_CHOSEN))

    def tell(self, trial: Any, tried: Tried, values: Sequence[float] | None, missed: float) -> None:
        """`values` are the objectives, None where they are not known; `missed` is how far the limits are, 0 where they hold."""
        state = self._optuna.trial.TrialState
        self._study.sampler = self._following  # which keeps how far the limits are; chance would not
        with quiet():
            trial.set_user_attr(_RECIPE, json.dumps(list(tried.recipe)))
            trial.set_user_attr(_ROW, json.dumps(tried.result.row()))
            trial.set_user_attr(_EARLY, tried.early)
            trial.set_user_attr(_MISSED, missed)
            if values is None:
                self._study.tell(trial, state=state.PRUNED)
            else:
                self._study.tell(trial, list(values))

    def drop(self, trial: Any) -> None:
        """What was chosen is no recipe, or one that was tried: it counts as no trial, and nothing is learned of it."""
        with quiet():
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)

    def put_back(self, number: int) -> bool:
        """The trial was cut short, and will be tried again; False, and nothing is done, where it was before: it never ends."""
        trial = self._study.trials[number]
        if trial.user_attrs.get(_AGAIN):
            return False
        with quiet():
            self._study.tell(number, state=self._optuna.trial.TrialState.FAIL)
            attributes = {key: value for key, value in trial.user_attrs.items() if key in (_RECIPE, _CHOSEN)}
            self._study.enqueue_trial(dict(trial.params), user_attrs={**attributes, _AGAIN: True})
        return True

    def remember_worst(self, step: str, patterns: Sequence[str]) -> None:
        """The layers that `step` had better spare, worst first."""
        with quiet():
            self._study.set_user_attr(_WORST, {**self.worst, step: list(patterns)})

    @property
    def worst(self) -> Mapping[str, Sequence[str]]:
        found: Mapping[str, Sequence[str]] = self._study.user_attrs.get(_WORST, {})
        return found

    def tried(self) -> Iterator[Tried]:
        """Every trial that came to a row, in their order."""
        for trial in self._study.get_trials(deepcopy=False):
            kept = trial.user_attrs
            if _ROW in kept and trial.state.is_finished():
                yield Tried(
                    trial.number,
                    tuple(json.loads(kept[_RECIPE])),
                    read_result(json.loads(kept[_ROW])),
                    kept.get(_EARLY),
                )

    def _put_back_what_ran(self) -> None:
        """What a killed process left unfinished."""
        for trial in self._study.trials:
            if trial.state == self._optuna.trial.TrialState.RUNNING and not self.put_back(trial.number):
                with quiet():
                    self._study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)
