"""The ranges that static quantization learns: of one tensor by hand, and of a network beside ONNX Runtime's calibrators."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

from weighbridge.contracts import Context, Model
from weighbridge.core.data import Data
from weighbridge.steps.quantize import onnx_calibration
from weighbridge.steps.quantize.onnx_calibration import MOST_KEPT, Spread, learn_ranges
from weighbridge.steps.quantize.onnx_histogram import BINS, Histogram
from weighbridge.steps.quantize.onnx_ranges import METHODS, PERCENT, chosen_range
from weighbridge.steps.quantize.onnx_static import StaticOptions, static

Array = npt.NDArray[Any]
LEVELS = 256


def seen(*batches: Array) -> Histogram:
    found = Histogram()
    for batch in batches:
        found.add(batch)
    return found


def spread(n: int = 400_000, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_t(4, n).astype(np.float32)


def test_of_batches_of_a_fixed_size_as_many_samples_are_kept() -> None:
    spread = Spread()
    for _ in range(100):
        spread.add((np.zeros((16, 3)),), fixed=True)
    assert 1 <= sum(len(inputs[0]) for inputs in spread.samples) <= MOST_KEPT


@given(
    arrays.arrays(np.float32, st.integers(1, 300), elements=st.floats(-(2.0**20), 2.0**20, width=32)),
    st.randoms(use_true_random=False),
)
def test_neither_order_nor_batches_change_what_was_seen(values: Array, random: Any) -> None:
    whole, order, parts = seen(values), list(range(len(values))), []
    random.shuffle(order)
    while order:
        size = random.randint(1, len(order))
        parts.append(values[order[:size]])
        order = order[size:]
    found = seen(*parts)
    assert (found.low, found.high, found.top) == (whole.low, whole.high, whole.top)
    assert np.array_equal(found.counts, whole.counts)
    assert whole.counts.sum() == len(values)


def test_what_is_next_to_zero_stays_on_its_side() -> None:
    """Beside a million, a 32-bit product of it would be zero."""
    tiny, large = np.full(3, -6.6e-44, np.float32), np.full(1, 1e6, np.float32)
    assert np.array_equal(seen(tiny, large).counts, seen(np.concatenate([tiny, large])).counts)


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1.0, 1e30, 3e38])
def test_values_of_any_size_are_counted_where_they_are(scale: float) -> None:
    values = (np.linspace(-1, 0.5, 1001) * scale).astype(np.float32)
    found = seen(values)
    middles = np.repeat((found.edges[:-1] + found.edges[1:]) / 2, found.counts.astype(int))
    assert np.abs(middles - np.sort(values)).max() <= found.top / BINS * 2


@pytest.mark.parametrize("method", METHODS)
def test_infinity_and_nan_make_no_range(method: str) -> None:
    values = np.concatenate([spread(1000), [np.inf, -np.inf, np.nan]]).astype(np.float32)
    assert chosen_range(method, seen(values), LEVELS, False) == chosen_range(
        method, seen(values[:1000]), LEVELS, False
    )
    assert chosen_range(method, seen(values[1000:]), LEVELS, False) == (0, 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 0.25, -3.0])
def test_a_constant_stays_inside_its_range(method: str, value: float) -> None:
    low, high = chosen_range(method, seen(np.full(64, value, dtype=np.float32)), LEVELS, False)
    assert min(low, 0) <= value <= max(high, 0)


def test_percentile_leaves_out_what_it_says() -> None:
    values = spread()
    found = seen(values)
    exact = np.percentile(np.abs(values), PERCENT)
    width = max(-found.low, found.high) / (BINS // 2)
    low, high = chosen_range("percentile", found, LEVELS, False)
    assert (low, high) == pytest.approx((max(-exact, found.low), min(exact, found.high)), abs=2 * width)
    assert high < found.high or low > found.low


def squared_error(values: Array, low: float, high: float) -> float:
    scale = (high - low) / (LEVELS - 1)
    zero = round(-low / scale)
    codes = np.clip(np.rint(values / scale) + zero, 0, LEVELS - 1)
    return float(np.mean(((codes - zero) * scale - values) ** 2))


@pytest.mark.parametrize("rectified", [False, True])
def test_mse_is_the_least_error_of_the_values_themselves(rectified: bool) -> None:
    values = np.maximum(spread(), 0) if rectified else spread()
    low, high = chosen_range("mse", seen(values), LEVELS, False)
    assert low == 0 if rectified else low < 0
    ends = [(low * a, high * b) for a in (0.8, 0.9, 1, 1.1, 1.25) for b in (0.8, 0.9, 1, 1.1, 1.25)]
    least = min(squared_error(values, *each) for each in ends)
    assert squared_error(values, low, high) <= 1.02 * least
    assert squared_error(values, low, high) < 0.8 * squared_error(values, min(0, values.min()), values.max())


def test_mse_around_zero_is_around_zero() -> None:
    low, high = chosen_range("mse", seen(spread() + 1), LEVELS, True)
    assert low == -high


def test_mse_keeps_all_of_a_range_that_clipping_would_hurt() -> None:
    even = np.linspace(-1, 3, 100_001, dtype=np.float32)
    assert chosen_range("mse", seen(even), LEVELS, False) == pytest.approx((-1, 3), rel=0.03)


def network() -> Any:
    random = np.random.default_rng(1)
    weights = {
        "w1": random.normal(0, 0.3, (8, 3, 3, 3)),
        "w2": random.normal(0, 0.2, (8, 8, 3, 3)),
        "w3": random.normal(0, 0.2, (8, 4)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "w3"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def samples() -> Array:
    return np.random.default_rng(2).standard_normal((70, 3, 16, 16)).astype(np.float32)


class OneByOne:
    """As ONNX Runtime's calibrators take samples; their histograms are of all of them at once."""

    def __init__(self) -> None:
        self._feeds: Iterator[dict[str, Array]] = ({"x": sample[None]} for sample in samples())

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)


def learned(folder: Path, method: str) -> dict[str, tuple[float, float]]:
    onnx.save(network(), folder / "net.onnx")
    context = Context(folder, folder, 0, Data(splits={"calibration": (samples(), None)}))
    path = folder / "ranges.json"
    learn_ranges(folder / "net.onnx", path, context, 512, method, LEVELS, symmetric=False, spread=Spread())
    found = json.loads(path.read_text())["data"]
    return {name: (each["lowest"]["data"], each["highest"]["data"]) for name, each in found.items()}


@pytest.mark.parametrize(
    ("method", "theirs", "within"),
    [
        ("minmax", CalibrationMethod.MinMax, 1e-5),
        ("percentile", CalibrationMethod.Percentile, 2 / 2048),
        ("entropy", CalibrationMethod.Entropy, 1e-5),
    ],
)
def test_the_ranges_are_onnx_runtimes(tmp_path: Path, method: str, theirs: Any, within: float) -> None:
    ours = learned(tmp_path, method)
    calibrator = create_calibrator(
        tmp_path / "net.onnx", None, str(tmp_path / "augmented.onnx"), calibrate_method=theirs
    )
    calibrator.collect_data(OneByOne())
    for name, data in calibrator.compute_data().items():
        low, high = (float(np.squeeze(end)) for end in data.range_value)
        assert ours[name] == pytest.approx((low, high), abs=within * max(-low, high)), name


def test_few_activations_are_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call's activations stay within the bound, however many samples there are and however large a batch may be."""
    largest: list[int] = []
    made = onnx_calibration._watched

    def watched(source: Path) -> Any:
        session, names = made(source)

        class Noting:
            def run(self, wanted: Any, feed: Any) -> Any:
                found = session.run(wanted, feed)
                largest.append(sum(value.nbytes for value in found))
                return found

        return Noting(), names

    monkeypatch.setattr(onnx_calibration, "_watched", watched)
    monkeypatch.setattr(onnx_calibration, "BYTES", 5 * 4 * 8 * 16 * 16 * 4)
    ranges = learned(tmp_path, "minmax")
    assert max(largest) <= onnx_calibration.BYTES
    assert len(largest) < 70  # and it does not go sample by sample either
    values = ort.InferenceSession(tmp_path / "net.onnx").run(None, {"x": samples()})[0]
    assert ranges["y"] == pytest.approx((values.min(), values.max()), rel=1e-5)


def test_entropy_says_that_it_is_minmax(tmp_path: Path) -> None:
    context = Context(tmp_path, tmp_path, 0, Data(splits={"calibration": (samples(), None)}))
    said = {
        method: static(Model("onnx", network()), StaticOptions(calibration=method, operators="all"), context)
        for method in ("minmax", "entropy")
    }
    assert any("as minmax does" in note for note in said["entropy"].notes)
    assert not any("as minmax does" in note for note in said["minmax"].notes)
    assert said["entropy"].value == said["minmax"].value


@pytest.mark.parametrize("n", [3, 64, 65, 1000])
@pytest.mark.parametrize("batch", [1, 7])
def test_what_is_kept_is_spread_over_all_samples(n: int, batch: int) -> None:
    """Often they are sorted by class."""
    spread = Spread()
    for start in range(0, n, batch):
        spread.add((np.arange(start, min(start + batch, n))[:, None],), fixed=False)
    kept = [int(inputs[0][0, 0]) for inputs in spread.samples]
    assert min(n, MOST_KEPT // 2) <= len(kept) <= MOST_KEPT
    assert len({later - earlier for earlier, later in itertools.pairwise(kept)}) == 1
    assert kept[0] == 0
    assert n - kept[-1] <= max(1, kept[1])
