"""A model is timed on inputs that change, and one that keeps its answers is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models import write_mlp
from onnx import helper, numpy_helper

from weighbridge.contracts import ENGINES, FORMATS, MEASURES, Weighing
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.measure.latency import LatencyLimit
from weighbridge.measure.speed import SpeedupLimit
from weighbridge.measure.timing.anew import (
    check_answers_anew,
    check_crowds,
    lost_in_small_batches,
    lost_in_the_crowd,
)
from weighbridge.measure.timing.opening import in_turn

torch = pytest.importorskip("torch")

MODEL = """
import torch

KEPT = {}


class Slow(torch.nn.Linear):
    def forward(self, x):
        for _ in range(20):
            y = super().forward(x)
        return y


class Kept(Slow):
    def forward(self, x):
        key = x.numpy().tobytes()
        if key not in KEPT:
            KEPT[key] = super().forward(x)
        return KEPT[key]


class Branches(Slow):
    def forward(self, x):
        return super().forward(x) if len(x) > 1 else x.flip(1)


def branches():
    return Branches(512, 512)


def slow():
    return Slow(512, 512)


def kept():
    return Kept(512, 512)
"""


@pytest.fixture
def weighing(tmp_path: Path) -> Callable[..., Weighing]:
    (tmp_path / "model.py").write_text(MODEL)
    engine = ENGINES.get("torch")

    def made(name: str) -> Weighing:
        own = FORMATS.get("torch")
        sides = [
            own.save(own.load(f"model.py:{one}", None, tmp_path), tmp_path, one) for one in (name, "slow")
        ]
        return Weighing(sides[0], sides[1], engine, engine.options(), Data(shapes=((512,),)), None)

    return made


@pytest.mark.parametrize(
    ("name", "limit"), [("speed", SpeedupLimit(min=2)), ("latency", LatencyLimit(max=1))]
)
def test_answers_that_are_kept_are_no_speed(weighing: Any, name: str, limit: Any) -> None:
    with pytest.raises(
        StageError, match=r"the candidate answers inputs that it has seen .*x faster than new ones"
    ):
        MEASURES.get(name).run(replace(weighing("kept"), limits=(limit,)))


def test_answers_that_are_kept_are_seen_where_memory_allows_one_batch(
    weighing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weighbridge.core.data.TURNS_BYTES", 1)
    limits = (LatencyLimit(max=1, batch=4),)
    with pytest.raises(StageError, match="answers inputs that it has seen"):
        MEASURES.get("latency").run(replace(weighing("kept"), limits=limits))


def test_a_model_that_computes_is_timed(weighing: Any) -> None:
    limit = LatencyLimit(max=1000, budget=0.3)
    assert MEASURES.get("latency").run(replace(weighing("slow"), limits=(limit,))).candidate > 0


class Interrupted:
    """A session of which a neighbour interrupts each second call."""

    def __init__(self) -> None:
        self.calls = 0

    def bind(self, inputs: Any) -> Callable[[], object]:
        def call() -> None:
            self.calls += 1
            time.sleep(3e-5 if self.calls % 2 else 0.002)

        return call


def test_a_neighbour_is_no_memory() -> None:
    """With so small a budget one new call and one seen call would be compared, three times in a row the unlucky one."""
    batches = [(np.full((1, 4), number, np.float32),) for number in range(8)]
    check_answers_anew("candidate", Interrupted(), batches, 0.001)


class Recorded:
    """A session that notes the first number of each batch it is called with."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def bind(self, inputs: Any) -> Callable[[], object]:
        if inputs[0].dtype.kind == "i" and (np.diff(inputs[0]) < 0).any():
            raise ValueError("offsets go up")
        return lambda: self.seen.append(float(inputs[0].flat[0]))


def test_the_batches_of_the_test_split_come_in_turn() -> None:
    data = Data({"test": (np.arange(20, dtype=np.float32)[:, None], None)})
    session = Recorded()
    call = in_turn(session, data.turns(2))
    for _ in range(9):
        call()
    assert session.seen == [0, 2, 4, 6, 8, 10, 12, 14, 0]


def test_few_samples_come_again() -> None:
    assert [batch[0].ravel().tolist() for batch in Data({"test": (np.eye(3, 1), None)}).turns(2)][:3] == [
        [1, 0], [0, 1], [0, 0],
    ]  # fmt: skip


def test_a_model_that_takes_no_mixture_is_not_asked() -> None:
    rising = tuple((np.arange(8)[None] * size,) for size in (1, 50))
    check_answers_anew("candidate", Recorded(), rising, 10)


def test_a_fixed_batch_is_timed_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """found/a09: as many samples on either side. One weight file at a batch of 8 is no slower than itself."""
    engine = ENGINES.get("onnxruntime")
    small, large = (write_mlp(tmp_path / f"{batch}.onnx", 64, batch=batch) for batch in ("n", 8))
    weighing = Weighing(small, large, engine, engine.options(), Data(shapes=((64,),)), None)

    def speed(batch: int) -> Any:
        limit = SpeedupLimit(min=0.01, batch=batch, budget=0.5)
        return MEASURES.get("speed").run(replace(weighing, limits=(limit,)))

    with pytest.raises(StageError, match=r"the baseline was exported .* 7 samples .*; write `batch: 8`"):
        speed(1)
    with pytest.raises(StageError, match=r"5 samples are computed beside the 11 .*; write `batch: 16`"):
        speed(11)
    assert speed(16).candidate > 0
    alone = replace(weighing, candidate=large, baseline=None, limits=(LatencyLimit(max=1, budget=0.3),))
    with pytest.raises(StageError, match="the candidate was exported for a fixed batch"):
        MEASURES.get("latency").run(alone)


class Answers:
    """A session whose answers may depend on the batch."""

    def __init__(self, rule: Callable[[Any], Any]) -> None:
        self._rule = rule

    def run(self, inputs: Any) -> tuple[Any, ...]:
        return (self._rule(inputs[0]),)


def table_of_64(x: Any) -> Any:
    return x[np.minimum(np.arange(len(x)), 63)]


RULES: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "a table of places": (table_of_64, True),
    "zeros behind the 100th": (lambda x: np.where(np.arange(len(x))[:, None] < 100, x, 0), True),
    "NaN behind the 100th": (lambda x: np.where(np.arange(len(x))[:, None] < 100, x, np.nan), True),
    "each by itself": (np.tanh, False),
    "one scale for the batch": (lambda x: np.round(x / np.abs(x).max() * 127) * np.abs(x).max() / 127, False),
    "numbers near zero, and noise": (lambda x: x + 1e-3 * len(x) % 7 * 1e-3, False),
    "every pair of samples": (lambda x: x @ x.T, False),
    "names behind the 100th": (
        lambda x: np.where((np.arange(len(x)) < 100) & (x[:, 0] > 0), "yes", "no").astype(object),
        True,
    ),
    "names": (lambda x: np.where(x[:, 0] > 0, "yes", "no").astype(object), False),
    "a sum over all": (lambda x: x.sum(keepdims=True), False),
}


@pytest.mark.parametrize("rule", RULES)
def test_answers_that_are_lost_in_a_large_batch_are_seen(rule: str) -> None:
    answers, lost = RULES[rule]
    batch = (np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32),)
    share = lost_in_the_crowd(Answers(answers), batch)  # type: ignore[arg-type]
    assert (share > 0.02) is lost
    assert lost_in_the_crowd(Answers(answers), (batch[0][:64],)) == 0  # type: ignore[arg-type]


def test_what_the_original_does_too_is_no_fault_of_the_candidate() -> None:
    check_crowds({"baseline": 0.5, "candidate": 0.5}, 256)
    check_crowds({"candidate": 0.01}, 256)
    for shares in ({"candidate": 0.5}, {"baseline": 0.0, "candidate": 0.5}):
        with pytest.raises(
            StageError, match=r"128 of 256 samples .* export it anew, or time a `batch` of 64"
        ):
            check_crowds(shares, 256)


DRAW = np.random.default_rng()


def drawn(x: Any) -> Any:
    return DRAW.standard_normal(x.shape)


@pytest.fixture(autouse=True)
def the_same_draws_each_time() -> None:
    DRAW.bit_generator.state = np.random.default_rng(0).bit_generator.state


def drawn_names(x: Any) -> Any:
    return np.where(drawn(x[:, :1]) > 0, "yes", "no").astype(object)


def turned_or_drawn(x: Any) -> Any:
    """A fault that would hide behind one drawn answer."""
    return np.concatenate([x[:-1], drawn(x[-1:])]) if len(x) > 1 else x[:, ::-1]


def one_only(x: Any) -> Any:
    if len(x) > 1:
        raise ValueError("a batch of one")
    return x


SMALL: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "zeros for one": (lambda x: x * (len(x) > 1), True),
    "another model for one": (lambda x: x if len(x) > 1 else x[:, ::-1], True),
    "NaN for one": (lambda x: x if len(x) > 1 else x * np.nan, True),
    "other names for one": (lambda x: np.where(x[:, 0] * (len(x) > 1) > 0, "yes", "no").astype(object), True),
    "each by itself": (np.tanh, False),
    "one scale for the batch": (lambda x: np.round(x / np.abs(x).max() * 127) * np.abs(x).max() / 127, False),
    "answers that are drawn": (drawn, False),
    "one number that is drawn": (lambda x: drawn(x[:, :1]), False),
    "names that are drawn": (drawn_names, False),
    "NaN where it is drawn": (lambda x: np.where(drawn(x) > 0, x, np.nan), False),
    "a sum over all": (lambda x: x.sum(keepdims=True), False),
    "no more than one": (one_only, False),
}


@pytest.mark.parametrize("rule", SMALL)
@pytest.mark.parametrize(
    "longest_s", [1e-9, 10.0]
)  # the least that may be afforded, and as many as there are
def test_answers_that_a_small_batch_alone_gets_are_seen(rule: str, longest_s: float) -> None:
    answers, lost = SMALL[rule]
    many = (np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32),)
    share = lost_in_small_batches(Answers(answers), many, 1, longest_s)  # type: ignore[arg-type]
    assert (share > 0.02) is lost


def test_one_drawn_answer_hides_nothing() -> None:
    many = (np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32),)
    assert lost_in_small_batches(Answers(turned_or_drawn), many, 1, 10.0) > 0.5  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["speed", "latency"])
def test_a_branch_for_the_timed_batch_is_no_speed(weighing: Any, kind: str) -> None:
    limits = (SpeedupLimit(min=2, budget=0.3) if kind == "speed" else LatencyLimit(max=1000, budget=0.3),)
    honest = replace(weighing("slow"), limits=limits)
    cheat = replace(weighing("branches"), limits=limits)
    with pytest.raises(
        StageError, match=r"otherwise in batches of 1, which would be timed, .*; export it anew"
    ):
        MEASURES.get(kind).run(cheat)
    # What the original does too is how the model is.
    assert MEASURES.get(kind).run(replace(cheat, baseline=cheat.candidate)).candidate > 0
    assert MEASURES.get(kind).run(honest).candidate > 0


def test_a_batch_that_the_candidate_does_not_serve_is_not_timed(tmp_path: Path) -> None:
    engine = ENGINES.get("onnxruntime")
    whole, limited = (write_mlp(tmp_path / f"{name}.onnx", 64) for name in ("whole", "limited"))
    keep_64(limited.path)
    weighing = Weighing(limited, whole, engine, engine.options(), Data(shapes=((64,),)), None)

    def speed(one: Weighing, batch: int) -> Any:
        limit = SpeedupLimit(min=0.01, batch=batch, budget=0.5)
        return MEASURES.get("speed").run(replace(one, limits=(limit,)))

    with pytest.raises(StageError, match=r"the candidate answers .* of 128 samples otherwise"):
        speed(weighing, 128)
    assert speed(weighing, 64).candidate > 0
    assert speed(replace(weighing, candidate=whole), 128).candidate > 0


def keep_64(path: Path) -> None:
    """Lets rows behind the 64th answer as that one does."""
    model = onnx.load(path)
    graph, output = model.graph, model.graph.output[0].name
    for node in graph.node:
        for place, name in enumerate(node.output):
            node.output[place] = "raw" if name == output else name
    numbers = {"zero": np.int64(0), "one": np.int64(1), "last": np.int64(63), "axis": np.array([0])}
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()
    )
    graph.node.extend(
        [
            helper.make_node("Shape", ["raw"], ["shape"], end=1),
            helper.make_node("Squeeze", ["shape", "axis"], ["n"]),
            helper.make_node("Range", ["zero", "n", "one"], ["places"]),
            helper.make_node("Min", ["places", "last"], ["rows"]),
            helper.make_node("Gather", ["raw", "rows"], [output], axis=0),
        ]
    )
    onnx.save(model, path)
