"""Calibration: a split is read once, in batches of few bytes, and nothing is cut that is no sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.projects import CASE, report_of

from weighbridge.contracts import Context, Model
from weighbridge.core.data import Data, Layout
from weighbridge.core.errors import StageError
from weighbridge.steps.calibration import BYTES, MOST, Calibration
from weighbridge.steps.quantize.onnx_static import StaticOptions, static


class Counted:
    """A dataset that counts how often each sample is read."""

    def __init__(self, n: int, shape: tuple[int, ...] = (8,)) -> None:
        self.x = np.random.default_rng(0).standard_normal((n, *shape)).astype(np.float32)
        self.reads = np.zeros(n, int)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if index >= len(self):
            raise IndexError
        self.reads[index] += 1
        return self.x[index], 0


class Loader:
    """Batches of the user's own."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def context(folder: Path, source: Any) -> Context:
    return Context(folder, folder, 0, Data(splits={"calibration": source}))


def network(batch: Any = "n") -> Model:
    weights = np.random.default_rng(1).standard_normal((2, 8, 8)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 8])],
        [numpy_helper.from_array(array, f"w{number}") for number, array in enumerate(weights)],
    )
    return Model("onnx", helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10))


def scales(model: Model) -> dict[str, float]:
    return {
        tensor.name: float(numpy_helper.to_array(tensor))
        for tensor in model.value.graph.initializer
        if tensor.name.endswith("_scale") and not tensor.dims
    }


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile", "mse"])
@pytest.mark.parametrize("n", [1, 37, 120, 797])
def test_each_sample_is_read_once(tmp_path: Path, method: str, n: int) -> None:
    data = Counted(n)
    static(network(), StaticOptions(calibration=method, samples=1000), context(tmp_path, data))
    assert data.reads.tolist() == [1] * n


def test_no_more_than_asked_for(tmp_path: Path) -> None:
    data = Counted(100)
    data.x[40:] *= 100
    found = scales(static(network(), StaticOptions(samples=40), context(tmp_path, data)))
    assert found["x_scale"] < 0.1
    assert data.reads[:40].tolist() == [1] * 40
    assert data.reads.max() == 1


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile", "mse"])
@pytest.mark.parametrize("batch", [1, 7, 64, 200])
def test_the_ranges_do_not_depend_on_how_the_data_comes(tmp_path: Path, method: str, batch: int) -> None:
    whole = Counted(200)

    def batches() -> Iterator[Any]:
        for start in range(0, 200, batch):
            yield whole.x[start : start + batch], np.zeros(len(whole.x[start : start + batch]))

    options = StaticOptions(calibration=method)
    array = scales(static(network(), options, context(tmp_path, (whole.x, np.zeros(200)))))
    stream = scales(static(network(), options, context(tmp_path, Loader(list(batches())))))
    assert stream == pytest.approx(array)


def test_minmax_is_the_range_of_all_samples(tmp_path: Path) -> None:
    data = Counted(100)
    data.x[77, 3] = 40.0
    found = scales(static(network(), StaticOptions(calibration="minmax"), context(tmp_path, data)))
    assert found["x_scale"] == pytest.approx((40 - data.x.min()) / 255, rel=1e-4)


@pytest.mark.parametrize(
    ("shape", "most"), [((8,), MOST), ((64, 64), MOST), ((3, 224, 224), 1), ((BYTES // 16,), 4)]
)
def test_batches_are_bounded_by_bytes(tmp_path: Path, shape: tuple[int, ...], most: int) -> None:
    x = np.zeros((40, *shape), np.float32)
    for source in ((x, np.zeros(40)), Loader([(x, np.zeros(40))])):
        sizes = [len(inputs[0]) for inputs in Calibration(context(tmp_path, source), 40)]
        assert max(sizes) == most
        assert sum(sizes) == 40


@pytest.mark.parametrize("n", [1, 5, 8, 20])
def test_a_fixed_batch_is_kept(tmp_path: Path, n: int) -> None:
    x = np.arange(n, dtype=np.float32)[:, None].repeat(8, 1)
    seen = [inputs[0] for inputs in Calibration(context(tmp_path, (x, np.zeros(n))), 100, fixed=8)]
    assert {len(batch) for batch in seen} == {8}
    assert len(seen) == max(1, n // 8)
    static(network(8), StaticOptions(), context(tmp_path, (x, np.zeros(n))))


def test_sequences_of_varying_length(tmp_path: Path) -> None:
    batches = [(np.ones((4, length), "f4"), np.zeros(4)) for length in (3, 7, 7, 5)]
    seen = [inputs[0].shape for inputs in Calibration(context(tmp_path, Loader(batches)), 100)]
    assert seen == [(4, 3), (8, 7), (4, 5)]


def test_an_empty_split_is_said(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"calibrat|empty"):
        list(Calibration(context(tmp_path, iter([])), 10))


def test_samples_without_a_batch_axis_are_each_read(tmp_path: Path) -> None:
    """A recurrent model may take no batch at all: a sample is then one call."""
    samples = [{"x": np.full((3, 8), index, np.float32)} for index in range(5)]
    data = Data(splits={"calibration": samples}, layout=Layout(axes={"x": None}))
    seen = list(Calibration(Context(tmp_path, tmp_path, 0, data), 100))
    assert [float(np.asarray(inputs["x"]).max()) for inputs in seen] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (1.0, ""),
        (0.4, ""),
        (2.0, ""),
        (16.0, "16x larger"),
        (1 / 255, "255x smaller"),
        (0.0, ""),
        (np.inf, ""),
    ],
)
def test_a_calibration_split_that_was_prepared_otherwise_is_told(factor: float, told: str) -> None:
    x = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    with np.errstate(invalid="ignore"):
        data = Data(splits={"calibration": (x * np.float32(factor), None), "test": (x, None)})
    said = [note for note in data.notes() if "prepared alike" in note]
    assert len(said) == bool(told)
    assert told in "".join(said)


def test_what_was_prepared_otherwise_is_the_advice_of_the_miss(
    pytester: pytest.Pytester, project: Callable[..., Path]
) -> None:
    folder = project(net=as_static(CASE))
    path = folder / "data.npz"
    held = dict(np.load(path))
    np.savez(path, **held, calibration_x=held["train_x"] / 255)
    code = (folder / "model.py").read_text()
    (folder / "model.py").write_text(
        code.replace(
            '"train": part("train")}', '"train": part("train"), "calibration": (data["calibration_x"], None)}'
        )
    )
    pytester.runpytest_inprocess()
    (row,) = report_of(pytester.path)["rows"]
    (missed,) = [verdict for verdict in row["verdicts"] if verdict["status"] == "fail"]
    assert any("smaller in the split 'calibration' than in 'test'" in advice for advice in missed["advice"])


def as_static(case: str) -> str:
    return case.replace(
        "prune: l1_unstructured\n    amount: 0.5", "quantize: static\n    engine: onnxruntime"
    )
