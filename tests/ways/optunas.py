"""What Optuna keeps of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weighbridge.propose.study import FILE


def trials_of_optuna(folder: Path) -> list[Any]:
    """As its file has them."""
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / FILE}")
    (study,) = optuna.get_all_study_names(storage)
    return [
        trial
        for trial in optuna.load_study(study_name=study, storage=storage).trials
        if trial.state.is_finished()
    ]
