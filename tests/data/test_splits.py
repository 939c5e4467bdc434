"""A split's digest, what is kept of it, and which splits a stage may read."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from weighbridge.core.data import Data, Split
from weighbridge.core.errors import StageError
from weighbridge.core.splits import Arrays, Kept

X = np.random.default_rng(0).standard_normal((150, 6)).astype(np.float32)
Y = np.arange(150) % 3


class Loader:
    """Batches of 40; counts how often it is read."""

    def __init__(self, x: Any = X, y: Any = Y) -> None:
        self.x, self.y, self.readings = x, y, 0

    def __iter__(self) -> Any:
        self.readings += 1
        return ((self.x[i : i + 40], self.y[i : i + 40]) for i in range(0, len(self.x), 40))


class Noisy(Loader):
    """Draws anew each time, as augmentation does."""

    def __iter__(self) -> Any:
        self.readings += 1
        noise = np.random.default_rng(self.readings).standard_normal(self.x.shape).astype(np.float32)
        return iter([(self.x + noise, self.y)])


def split(value: Any, name: str = "test") -> Split:
    return Data({name: value}).split(name)


def test_the_digest_is_of_the_content() -> None:
    assert split((X, Y)).digest() == split((X.copy(), Y.copy())).digest()
    other = X.copy()
    other[149, 5] += 1e-3
    changed = [
        (other, Y),
        (X, (Y + 1) % 3),
        (X.astype(np.float64), Y),
        (X[::-1], Y),
        (X.reshape(150, 2, 3), Y),
        (X, None),
    ]
    digests = {split(value).digest() for value in [(X, Y), *changed]}
    assert len(digests) == len(changed) + 1


def test_arrays_that_are_no_row_after_row_have_the_digest_of_their_values() -> None:
    assert split((np.asfortranarray(X), Y)).digest() == split((X, Y)).digest()


def test_a_loader_is_read_once_and_kept() -> None:
    loader = Loader()
    opened = split(loader)
    opened.digest()
    assert [len(y) for _, y in opened.batches()] == [40, 40, 40, 30]
    np.testing.assert_array_equal(opened.arrays()[0][0], X)
    opened.digest()
    assert loader.readings == 1
    assert isinstance(opened.source, Kept)


def test_a_loader_that_is_too_large_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weighbridge.core.splits.KEEP", 2000)
    loader = Loader()
    opened = split(loader)
    opened.digest()
    np.testing.assert_array_equal(opened.arrays()[0][0], X)
    assert loader.readings == 2


def test_a_reading_that_stops_half_way_keeps_nothing() -> None:
    loader = Loader()
    opened = split(loader)
    opened.first(3)
    next(opened.batches())
    assert opened.digest() == split(Loader()).digest()
    np.testing.assert_array_equal(opened.arrays()[0][0], X)


def test_training_data_is_drawn_anew_in_each_epoch() -> None:
    data = Data({"train": Noisy(), "test": Noisy()})
    train, test = data.split("train"), data.split("test")
    train.digest(), test.digest()
    epochs = [[x[0] for (x, *_), _ in train.epoch(64, np.arange)] for _ in range(2)]
    assert not np.array_equal(epochs[0][0], epochs[1][0])
    np.testing.assert_array_equal(test.arrays()[0][0], test.arrays()[0][0])


@pytest.mark.parametrize("value", [(X, Y), [(X[i], Y[i]) for i in range(150)]])
def test_an_epoch_has_every_sample_once(value: Any) -> None:
    order = np.random.default_rng(3).permutation(150)
    if isinstance(value, list):
        value = type("Set", (), {"__getitem__": lambda _, i: (X[i], Y[i]), "__len__": lambda _: 150})()
    batches = list(split(value, "train").epoch(64, lambda n: order[:n]))
    np.testing.assert_array_equal(np.concatenate([x[0] for x, _ in batches]), X[order])
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), Y[order])


@pytest.mark.parametrize(
    ("n", "sizes"), [(129, [64, 65]), (128, [64, 64]), (130, [64, 64, 2]), (1, [1]), (65, [65])]
)
def test_no_last_batch_of_one(n: int, sizes: list[int]) -> None:
    assert [len(y) for _, y in split((X[:n], Y[:n]), "train").epoch(64, np.arange)] == sizes


@pytest.mark.parametrize(
    ("n", "sizes"), [(129, [64, 63, 2]), (128, [64, 64]), (66, [64, 2]), (1, [1]), (65, [63, 2])]
)
def test_a_sample_that_is_left_over_is_not_alone(n: int, sizes: list[int]) -> None:
    for value in ((X[:n], Y[:n]), [(X[i], Y[i]) for i in range(n)]):
        batches = list(split(value).batches())
        assert [len(y) for _, y in batches] == sizes
        np.testing.assert_array_equal(np.concatenate([x[0] for x, _ in batches]), X[:n])
        np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), Y[:n])


def test_batches_of_one_stay_what_their_user_made_them() -> None:
    ones = [(X[i : i + 1], Y[i : i + 1]) for i in range(4)]
    assert [len(y) for _, y in split(ones).batches()] == [1, 1, 1, 1]
    between = [(X[:2], Y[:2]), ones[2], (X[3:5], Y[3:5])]
    assert [len(y) for _, y in split(between).batches()] == [2, 1, 2]


def test_samples_of_several_lengths_come_in_batches_of_one_length() -> None:
    samples = [(np.ones((length, 2), np.float32), 0) for length in (3, 3, 5, 3)]
    opened = split(samples)
    assert [x[0].shape for x, _ in opened.batches()] == [(2, 3, 2), (1, 5, 2), (1, 3, 2)]
    assert opened.first(4)[0].shape == (2, 3, 2)
    with pytest.raises(StageError, match=r"differ in shape \(\[\[3, 2\]\] and \[\[5, 2\]\]\).*pad them"):
        opened.arrays()


def test_targets_of_several_shapes_are_not_taken_for_the_inputs() -> None:
    boxes = [(np.ones((3, 8), np.float32), np.ones((length, 5))) for length in (1, 2)]
    with pytest.raises(
        StageError, match=r"the targets of .* differ in shape \(\[\[1, 5\]\] and \[\[2, 5\]\]\)"
    ):
        split(boxes).arrays()


def test_a_stage_reads_only_what_it_declares() -> None:
    data = Data({"test": (X, Y), "train": (X, Y)})
    view = data.restricted(("calibration",))
    assert view.split("calibration").name == "train"
    with pytest.raises(StageError, match="the stage reads split 'test', which it does not declare"):
        view.split("test")
    assert view.sample(200)[0].shape == (200, 6)
    assert data.split("test") is data.split("test")


def test_data_of_invented_samples_says_so() -> None:
    data = Data(shapes=((6,),))
    assert (data.invented, data.kind) == (True, "random")
    assert data.sample(3)[0].shape == (3, 6)
    for name in ("calibration", "test", "train"):
        with pytest.raises(StageError, match=f"no split '{name}': the case's inputs are random"):
            data.split(name)
    assert (Data({"test": (X, Y)}).invented, Data().invented) == (False, False)


def test_the_digest_of_data_is_of_the_splits_it_is_asked_for() -> None:
    one, two = Data({"test": (X, Y), "train": (X, Y)}), Data({"test": (X, Y), "train": (X[:9], Y[:9])})
    assert one.digest(("test",)) == two.digest(("test",))
    assert one.digest(("train",)) != two.digest(("train",))
    assert one.digest(("calibration",)) != two.digest(("calibration",))
    assert Data(shapes=((6,),)).digest(()) != Data(shapes=((6,),), seed=1).digest(())


def test_a_failed_opening_fails_again() -> None:
    data = Data({"test": (1 / 0 for _ in range(3))})
    for _ in range(2):
        with pytest.raises(StageError, match="ZeroDivisionError"):
            data.split("test")


def test_plain_data_crosses_process_borders() -> None:
    data = pickle.loads(pickle.dumps(Data({"test": (X, Y)})))
    assert isinstance(data.split("test").source, Arrays)


def test_few_samples_are_of_the_whole_split() -> None:
    """A split is often sorted by class."""
    split = Data({"test": (np.arange(1000.0), np.arange(1000))}).split("test").spread(10)
    inputs, targets = split.arrays()
    assert split.length == 10
    assert inputs[0].tolist() == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
    assert targets is not None
    assert targets.tolist() == inputs[0].tolist()


def test_what_is_read_one_by_one_is_not_thinned_out() -> None:
    split = Data({"test": [(np.zeros(2), 0)] * 9}).split("test")
    assert split.spread(3) is split
    arrays = Data({"test": (np.zeros((3, 2)), np.zeros(3))}).split("test")
    assert arrays.spread(3) is arrays


def test_another_split_is_judged_in_place_of_the_test_split() -> None:
    data = Data({"test": (np.zeros((4, 1)), np.zeros(4)), "validation": (np.ones((6, 1)), np.ones(6))})
    judged = data.judged_on("validation", None)
    assert judged.split("test").length == 6
    assert judged.sample(2)[0].tolist() == [[1], [1]]
    assert judged.split("validation").digest() == judged.split("test").digest()
    assert data.split("test").length == 4
    assert judged.split("validation") is data.split("validation"), "read and hashed once for all"
    assert data.judged_on("test", 2).split("test").length == 2
    with pytest.raises(StageError, match="no split 'calibration'"):
        data.judged_on("calibration", None)


def test_a_generator_that_is_judged_on_is_read_once() -> None:
    def batches() -> Any:
        yield np.ones((3, 2)), np.zeros(3)

    data = Data({"test": (np.zeros((4, 2)), np.zeros(4)), "calibration": batches()})
    judged = data.judged_on("calibration", None)
    assert judged.split("test").digest() == judged.split("calibration").digest()
