"""A sweep's data is read once a process, and its model built twice; a case never gets what another has written into."""

from __future__ import annotations

import gc
import os
import random
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.projects import MODEL, report_of

from weighbridge.case.model import Case, ModelRef
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.run import recent, workshop
from weighbridge.run.store import Store
from weighbridge.run.workshop import Loaded, Workshop

Project = Callable[..., Path]


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


def by_functions(calls: list[str], file: Path) -> dict[str, Any]:
    """Splits that are made once they are asked for, as those of a data set in files are."""

    def test() -> Any:
        calls.append("test")
        return np.load(file), np.zeros(4, dtype=np.int64)

    def train() -> Any:
        calls.append("train")
        return np.zeros((9, 3), dtype=np.float32), None

    return {"test": test, "train": train}


def test_what_a_split_s_function_gave_is_kept_too(tmp_path: Path) -> None:
    file, read = tmp_path / "samples.npy", list[str]()
    np.save(file, np.zeros((4, 3), dtype=np.float32))
    load, calls = loader(lambda: by_functions(read, file))
    for _ in range(3):
        recent.data_of(case(tmp_path), tmp_path, load).digest(["test"])
    assert (len(calls), read) == (1, ["test"]), "what nobody asks for is not read"
    np.save(file, np.ones((4, 3), dtype=np.float32))
    os.utime(file, (1, 1))
    (inputs,) = recent.data_of(case(tmp_path), tmp_path, load).sample(4)
    assert np.all(inputs), "a file that the function read has changed"
    recent._recent[0].read[1].given[0][0][2, 1] = 5
    (again,) = recent.data_of(case(tmp_path), tmp_path, load).sample(4)
    assert np.array_equal(again, np.ones((4, 3))), "a case wrote into the arrays"
    assert len(calls) == 3


def test_what_is_too_large_to_keep_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, read = tmp_path / "samples.npy", list[str]()
    np.save(file, np.zeros((4, 3), dtype=np.float32))
    monkeypatch.setattr(recent, "KEEP", 4 * (4 * 3 + 9 * 3))
    load, calls = loader(lambda: by_functions(read, file))
    recent.data_of(case(tmp_path), tmp_path, load).digest(["test"])
    recent.data_of(case(tmp_path), tmp_path, load).digest(["train"])
    assert len(calls) == 1
    recent.data_of(case(tmp_path), tmp_path, load)
    assert len(calls) == 2


def test_a_split_s_function_may_give_a_loader(tmp_path: Path) -> None:
    load, calls = loader(lambda: {"test": lambda: iter([(np.zeros((4, 3)), np.zeros(4))])})
    for _ in range(2):
        recent.data_of(case(tmp_path), tmp_path, load).digest(["test"])
    assert len(calls) == 2


def test_what_nobody_keeps_is_let_go_of_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that waits for its next case holds no loader and nothing large, and a split read often no reading of it."""

    def batches() -> Iterator[Any]:
        held = np.zeros((4, 3), dtype=np.float32)
        made.append(weakref.ref(held))
        yield held, np.zeros(4)

    made: list[Any] = []
    monkeypatch.setattr(recent, "KEEP", 4 * 4)
    load, _ = loader(lambda: {"train": batches, "test": lambda: (np.zeros((4, 3)), np.zeros(4))})
    for name in ("train", "test"):
        data = recent.data_of(case(tmp_path), tmp_path, load)
        for _ in range(3):
            data.split(name).first(2)
        del data
        assert not recent._recent
    gc.collect()
    assert made
    assert not any(held() is not None for held in made)


@pytest.mark.parametrize(
    "draw", [np.random.rand, random.random, lambda: float(torch.rand(1))], ids=["numpy", "random", "torch"]
)
@pytest.mark.parametrize("early", [False, True], ids=["in its function", "before"])
def test_what_is_drawn_with_the_cases_seed_is_drawn_anew(
    tmp_path: Path, draw: Callable[[], float], early: bool
) -> None:
    """Each split is what the case alone would read, whichever the case before has asked for."""

    def splits() -> dict[str, Any]:
        if early:
            draw()
        plain = (np.zeros((4, 3)), np.zeros(4))
        return {
            "test": lambda: plain if early else (np.full((4, 3), draw()), np.zeros(4)),
            "calibration": lambda: (np.full((4, 3), draw()), np.zeros(4)),
        }

    def alone(names: Sequence[str]) -> list[str]:
        workshop.seed_everything(0)
        data = recent.data_of(case(tmp_path), tmp_path, load)
        return [data.digest([name]) for name in names]

    load, _ = loader(splits)
    wanted = alone(["calibration", "test"])
    recent.forget_data()
    alone(["test"])
    assert alone(["calibration", "test"]) == wanted


def test_a_split_that_could_not_be_read_is_tried_again(tmp_path: Path) -> None:
    """As one for which there was no memory beside what the case before held."""
    attempts: list[int] = []

    def test() -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            raise MemoryError
        return np.zeros((4, 3)), np.zeros(4)

    load, _ = loader(lambda: {"test": test})
    with pytest.raises(StageError, match="MemoryError"):
        recent.data_of(case(tmp_path), tmp_path, load).digest(["test"])
    recent.data_of(case(tmp_path), tmp_path, load).digest(["test"])


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


def builder(folder: Path, *keys: str) -> tuple[Any, list[str]]:
    """A model whose key is the next of `keys`, the last one from then on, and which reads a file."""
    calls: list[str] = []

    def build() -> str:
        (folder / "weights.bin").read_bytes()
        calls.append(keys[min(len(calls), len(keys) - 1)])
        return calls[-1]

    return build, calls


def test_a_model_that_was_the_same_twice_is_not_built_for_its_key(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"one")
    build, calls = builder(tmp_path, "a")
    assert [recent.identity_of("net", build) for _ in range(4)] == ["a"] * 4
    assert len(calls) == 2
    recent.identity_of("another net", build)
    assert len(calls) == 3
    recent.identity_of("net", build)
    (tmp_path / "weights.bin").write_bytes(b"other")
    recent.identity_of("net", build)
    assert len(calls) == 4, "a file that it was made of has changed"


def test_a_model_that_is_another_at_each_call_is_built_each_time(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"one")
    build, calls = builder(tmp_path, "a", "b", "a", "b", "c")
    assert [recent.identity_of("net", build) for _ in range(6)] == ["a", "b", "a", "b", "c", "c"]
    assert len(calls) == 6


SHEET = """
model: {torch: model.py:net, weights: net.safetensors}
data: model.py:splits
thresholds: {size_ratio: 0.9}
cases:
"""
CASES = "".join(
    f"  - {{name: c{n}, recipe: [{{prune: l1_unstructured, amount: 0.{n}}}]}}\n" for n in range(2, 6)
)


def test_a_stored_sweep_builds_its_model_twice(pytester: pytest.Pytester, project: Project) -> None:
    """And once for each pruned one, which is opened by the same callable."""
    folder = project(net=SHEET + CASES)
    built = folder / "calls.txt"
    pytester.runpytest_inprocess("--executor=inline").assert_outcomes(passed=4)
    built.unlink()
    pytester.runpytest_inprocess("--executor=inline").assert_outcomes(passed=4)
    assert built.read_text().split() == ["net"] * (2 + 4)


def test_a_model_that_is_not_what_its_key_says_is_an_error(
    pytester: pytest.Pytester, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(net=SHEET + CASES)
    monkeypatch.setattr(workshop, "identity_of", lambda *_: Loaded("torch", None, "of an earlier call", {}))
    pytester.runpytest_inprocess("--executor=inline").assert_outcomes(errors=4)
    messages = [row["verdicts"][0]["message"] for row in report_of(pytester.path)["rows"]]
    assert all("model.py:net gives another model at some calls than at others" in each for each in messages)


def test_weights_that_native_code_reads_are_looked_at_each_time(
    pytester: pytest.Pytester, project: Project
) -> None:
    """The builder reads them itself, and the third case's step has written others."""
    folder = project(net=SHEET.replace(", weights: net.safetensors", "") + CASES)
    text = MODEL.replace("    return nn.Sequential", "    made = nn.Sequential").replace(
        "nn.Linear(96, 4))\n",
        "nn.Linear(96, 4))\n"
        "    from safetensors.torch import load_file\n"
        "    made.load_state_dict(load_file(HERE / 'net.safetensors'))\n"
        "    return made\n",
    )
    (folder / "model.py").write_text(text)
    (folder / "conftest.py").write_text(
        "import pytest\nfrom pathlib import Path\nfrom safetensors.torch import load_file, save_file\n"
        "@pytest.hookimpl(wrapper=True)\ndef pytest_runtest_protocol(item):\n"
        "    path = Path(__file__).parent / 'net.safetensors'\n"
        "    if 'c5' in item.nodeid:\n"
        "        save_file({name: tensor * 0 + 1 for name, tensor in load_file(path).items()}, path)\n"
        "    return (yield)\n"
    )
    pytester.runpytest_inprocess("--executor=inline")
    rows = report_of(pytester.path)["rows"]
    digests = [row["artifacts"]["baseline"]["files"][0]["sha256"] for row in rows]
    assert digests[0] == digests[1] == digests[2] != digests[3]


def test_a_draw_has_the_original_of_the_first(pytester: pytest.Pytester, project: Project) -> None:
    """Nobody but the seed says which weights a model without a file has."""
    sheet = SHEET.replace(", weights: net.safetensors", "") + CASES.replace("l1_", "random_")
    folder = project(net=sheet)
    pytester.runpytest_inprocess("--executor=inline").assert_outcomes(passed=4)
    (folder / "net.yaml").write_text(f"repeat: 2\n{sheet}")
    pytester.runpytest_inprocess("--executor=inline").assert_outcomes(passed=4)


def test_a_refused_original_is_refused_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop, "identity_of", lambda *_: Loaded("torch", None, "of an earlier call", {}))
    (tmp_path / "model.py").write_text(MODEL)
    ref = ModelRef("torch", "model.py:net")
    shop = Workshop(
        replace(case(tmp_path), model=ref),
        Store(tmp_path / "store"),
        tmp_path,
        tmp_path,
        lambda *_: None,
        lambda _: None,
    )
    for _ in range(2):
        with pytest.raises(StageError, match="another model at some calls"):
            shop.original(ref)


def test_a_builder_without_a_seed_is_built_once_for_a_case_without_data(
    pytester: pytest.Pytester, project: Project
) -> None:
    folder = project(
        net="model: {torch: model.py:net}\nrecipe: [{prune: l1_unstructured, amount: 0.5}]\n"
        "thresholds: {nonzero_ratio: 0.6}\n"
    )
    text = MODEL.replace("    return nn.Sequential", "    torch.seed()\n    return nn.Sequential")
    (folder / "model.py").write_text(text)
    pytester.runpytest_inprocess("--executor=inline").assert_outcomes(passed=1)
