"""The study of a search: what is tried once more and what is not, what its sampler learns, and its file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.ways.optunas import trials_of_optuna

from weighbridge.core.results import CaseResult, Status
from weighbridge.propose.study import FILE, Study, Tried

pytest.importorskip("optuna", reason="pip install 'weighbridge[search]'")


def test_what_a_killed_process_was_at_is_tried_once_more(tmp_path: Path) -> None:
    """And not a third time: it may be what kills."""
    recipe = ({"quantize": "static"},)
    first = Study(tmp_path, "one", 1, 0)
    first.enqueue(recipe, None)
    assert first.recipe_of(first.ask()) == recipe
    again = Study(tmp_path, "one", 1, 0)
    assert again.recipe_of(again.ask()) == recipe
    after = Study(tmp_path, "one", 1, 0)
    assert after.recipe_of(after.ask()) is None


def test_what_the_budget_cuts_short_twice_comes_to_an_end(tmp_path: Path) -> None:
    study = Study(tmp_path, "one", 1, 0)
    study.enqueue(({"quantize": "static"},), None)
    assert study.put_back(study.ask().number)
    trial = study.ask()
    assert not study.put_back(trial.number)
    error = CaseResult("a", "a", "a.yaml", 1, Status.ERROR, message="the time is over")
    study.tell(trial, Tried(trial.number, ({"quantize": "static"},), error, None), None, 1000.0)
    assert [tried.number for tried in study.tried()] == [trial.number]


@pytest.mark.parametrize("by_chance", [False, True])
def test_how_far_the_limits_are_is_learned_however_a_trial_was_drawn(by_chance: bool, tmp_path: Path) -> None:
    study = Study(tmp_path, "one", 1, 0)
    trial = study.ask(by_chance)
    row = CaseResult("a", "a", "a.yaml", 1, Status.FAIL)
    study.tell(trial, Tried(trial.number, ({"quantize": "static"},), row, None), [3.0], 7.5)
    study.drop(study.ask())
    (told, dropped) = trials_of_optuna(tmp_path)
    assert "7.5" in str(told.system_attrs), "the sampler keeps it"
    assert not dropped.system_attrs, "and nothing of what was no trial"


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("mine")
    with pytest.raises(Exception, match=r"study.sqlite cannot be read as Optuna's"):
        Study(tmp_path, "one", 1, 0)
