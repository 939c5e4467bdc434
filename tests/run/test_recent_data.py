"""A sweep's data is read once a process, and a case never gets what another has written into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weighbridge.case.model import Case, ModelRef
from weighbridge.core.data import Data
from weighbridge.run import recent


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    recent.forget_data()
    yield
    recent.forget_data()


def case(folder: Path, data: str = "data.py:splits", **more: Any) -> Case:
    return Case(folder / "case.yaml", "one", 1, ModelRef("torch", "model.py:net"), (), data=data, **more)


def splits() -> dict[str, Any]:
    return {"test": (np.zeros((4, 3), dtype=np.float32), np.zeros(4, dtype=np.int64)), "train": None}


def loader(splits: Any) -> tuple[Any, list[int]]:
    calls: list[int] = []

    def load() -> Data:
        calls.append(1)
        return Data(splits() if callable(splits) else splits)

    return load, calls


def test_the_next_case_gets_the_same_data(tmp_path: Path) -> None:
    load, calls = loader(splits)
    first = recent.data_of(case(tmp_path), tmp_path, load)
    assert recent.data_of(case(tmp_path), tmp_path, load) is first
    assert len(calls) == 1


@pytest.mark.parametrize("other", [{"data": "data.py:others"}, {"seed": 1}, {"targets": "y"}])
def test_another_data_another_seed_another_form_is_loaded(tmp_path: Path, other: dict[str, Any]) -> None:
    load, calls = loader(splits)
    recent.data_of(case(tmp_path), tmp_path, load)
    recent.data_of(case(tmp_path, **other), tmp_path, load)
    assert len(calls) == 2


def test_what_a_case_wrote_into_is_loaded_again(tmp_path: Path) -> None:
    load, calls = loader(splits)
    recent.data_of(case(tmp_path), tmp_path, load).splits["test"][0][2, 1] = 1
    assert not recent.data_of(case(tmp_path), tmp_path, load).splits["test"][0].any()
    assert len(calls) == 2


def test_a_file_that_was_read_and_has_changed_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "samples.npy"
    np.save(file, np.zeros((4, 3), dtype=np.float32))
    load, calls = loader(lambda: {"test": (np.load(file), None)})
    recent.data_of(case(tmp_path), tmp_path, load)
    recent.data_of(case(tmp_path), tmp_path, load)
    assert len(calls) == 1
    np.save(file, np.ones((4, 3), dtype=np.float32))
    os.utime(file, (1, 1))
    assert recent.data_of(case(tmp_path), tmp_path, load).splits["test"][0].all()


def test_a_loader_has_a_state_and_is_made_anew(tmp_path: Path) -> None:
    load, calls = loader(lambda: {"test": iter([(np.zeros((4, 3)), np.zeros(4))])})
    recent.data_of(case(tmp_path), tmp_path, load)
    recent.data_of(case(tmp_path), tmp_path, load)
    assert len(calls) == 2


def test_a_case_with_other_data_does_not_hold_the_old(tmp_path: Path) -> None:
    load, _ = loader(splits)
    recent.data_of(case(tmp_path), tmp_path, load)
    recent.forget_other_data(case(tmp_path), tmp_path)
    assert recent._recent
    recent.forget_other_data(case(tmp_path, data="data.py:others"), tmp_path)
    assert not recent._recent
