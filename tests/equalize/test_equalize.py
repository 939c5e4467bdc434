"""Scales that move between layers of an ONNX graph: it computes the same, and what quantizes badly then quantizes well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.equalize.moving import WAYS, attention, equalize, mlp, moved
from tests.found.onnx_graphs import arrays, decibel, model, node, samples, weight
from tests.found.onnx_graphs import quantize as quantized
from tests.projects import weigh, write_samples
from tests.prune.random_graphs import Network

from weighbridge.core.errors import CaseError, StageError
from weighbridge.core.results import Status
from weighbridge.steps.equalize import onnx_scaling


@pytest.mark.parametrize(
    ("way", "seed"),
    [
        (way, seed)
        for way in ("smooth_quant", "cross_layer")
        for seed in (0, 4, 6, 8, 9, 11, 12, 13, 14, 15, 18, 19)
    ],
)
def test_random_networks_compute_the_same(tmp_path: Path, way: str, seed: int) -> None:
    """Those with a pair that both ways take."""
    before = Network(seed).graph()
    after = equalize(tmp_path, before, way)
    assert decibel(before, after) > 90
    old = arrays(before)
    assert any((old[name] != array).any() for name, array in arrays(after).items() if name in old)


def test_both_layers_have_the_same_range_for_each_channel(tmp_path: Path) -> None:
    uneven = np.geomspace(0.01, 10, 24).astype(np.float32)
    before = mlp(**{"one.weight": weight(24, 12) * uneven[:, None]})
    after = equalize(tmp_path, before, "cross_layer")
    found = arrays(after)
    made, read = np.abs(found["one.weight"]).max(1), np.abs(found["two"]).max(1)
    assert made == pytest.approx(read, rel=0.01)
    assert np.abs(found["two"]).max(0) == pytest.approx(np.abs(found["three"]).max(1), rel=0.01)
    assert decibel(before, after) > 100
    assert moved(after) == "scales moved: one → two, two → three"


def test_activations_and_weights_share_a_range_as_the_formula_says(tmp_path: Path) -> None:
    before = mlp()
    after = equalize(tmp_path, before, "smooth_quant", alpha=0.75)
    x, old, new = samples(before), arrays(before), arrays(after)
    hidden = np.maximum(x @ old["one.weight"].T + old["one.bias"], 0)
    scale = np.abs(hidden).max(0) ** 0.75 / np.abs(old["two"]).max(1) ** 0.25
    assert new["one.weight"] == pytest.approx(old["one.weight"] / scale[:, None], rel=1e-4, abs=1e-7)
    assert new["one.bias"] == pytest.approx(old["one.bias"] / scale, rel=1e-4, abs=1e-7)
    hidden = hidden @ old["two"] + old["two.bias"]
    hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
    next_scale = np.abs(hidden).max(0) ** 0.75 / np.abs(old["three"]).max(1) ** 0.25
    assert new["two"] == pytest.approx(old["two"] * scale[:, None] / next_scale, rel=1e-4, abs=1e-7)
    assert new["two.bias"] == pytest.approx(old["two.bias"] / next_scale, rel=1e-4, abs=1e-7)
    assert new["three"] == pytest.approx(old["three"] * next_scale[:, None], rel=1e-4, abs=1e-7)
    assert decibel(before, after) > 100


def test_a_normalization_and_all_that_read_it_share_a_scale(tmp_path: Path) -> None:
    before = attention()
    after = equalize(tmp_path, before, "smooth_quant")
    assert "norm1 → query, key, value" in moved(after)
    assert "norm2 → up" in moved(after)
    assert "up → down" in moved(after)
    scale = arrays(before)["norm1.gain"] / arrays(after)["norm1.gain"]
    for name in ("query", "key", "value"):
        assert arrays(after)[name] == pytest.approx(arrays(before)[name] * scale[:, None], rel=1e-5)
    assert decibel(before, after) > 100
    assert any("out reads what it did" in note for note in after.notes)


def test_a_normalization_that_is_spelled_out_takes_a_scale_too(tmp_path: Path) -> None:
    nodes = [
        node("ReduceMean", "x", "mean", "mean", axes=[-1]),
        node("Sub", "x mean", "centred", "centre"),
        node("Mul", "centred centred", "squared", "square"),
        node("ReduceMean", "squared", "variance", "variance", axes=[-1]),
        node("Sqrt", "variance", "deviation", "root"),
        node("Div", "centred deviation", "normal", "divide"),
        node("Mul", "gain normal", "scaled", "gain"),
        node("Add", "scaled shift", "out", "shift"),
        node("MatMul", "out w", "y", "product"),
    ]
    weights = {"gain": np.abs(weight(1, 16)) + 0.5, "shift": weight(16), "w": weight(16, 8)}
    before = model(nodes, weights, ["n", 5, 16])
    after = equalize(tmp_path, before, "smooth_quant")
    assert moved(after) == "scales moved: gain → w"
    changed = {name for name, array in arrays(after).items() if (array != arrays(before)[name]).any()}
    assert changed == {"gain", "shift", "w"}
    assert decibel(before, after) > 100


def test_equal_vectors_that_are_stored_once_are_set_apart(tmp_path: Path) -> None:
    """Exporters store equal numbers once, as the ones of two new normalizations are."""
    nodes = [
        node("LayerNormalization", "x gain shift", "a", "norm1"),
        node("MatMul", "a w1", "b", "first"),
        node("LayerNormalization", "b gain shift", "c", "norm2"),
        node("MatMul", "c w2", "d", "second"),
        node("Tanh", "d", "e", "bend"),
        node("LayerNormalization", "e gain shift", "y", "norm3"),
    ]
    weights = {
        "gain": np.abs(weight(16)) + 0.5,
        "shift": weight(16),
        "w1": weight(16, 16),
        "w2": weight(16, 16),
    }
    before = model(nodes, weights, ["n", 16])
    after = equalize(tmp_path, before, "smooth_quant")
    assert moved(after) == "scales moved: gain_norm1 → w1, gain_norm2 → w2"
    assert decibel(before, after) > 100
    assert set(arrays(after)) == {
        "gain", "shift", "w1", "w2", "gain_norm1", "shift_norm1", "gain_norm2", "shift_norm2",
    }  # fmt: skip
    assert (arrays(after)["gain"] == weights["gain"]).all()  # the third still reads it


def test_outliers_are_given_back_their_codes(tmp_path: Path) -> None:
    loud = np.ones(16, np.float32)
    loud[[2, 9]] = 60
    before = attention(loud)
    plain = decibel(before, quantized(tmp_path, before, "static", float_share=0))
    smooth = decibel(
        before, quantized(tmp_path, equalize(tmp_path, before, "smooth_quant"), "static", float_share=0)
    )
    assert smooth > plain + 10


def test_uneven_channels_survive_one_scale_for_all(tmp_path: Path) -> None:
    uneven = np.geomspace(0.01, 10, 24).astype(np.float32)
    before = mlp(**{"one.weight": weight(24, 12) * uneven[:, None], "one.bias": weight(24) * uneven,
                    "two": weight(24, 16) / uneven[:, None]})  # fmt: skip
    options: dict[str, Any] = {"float_share": 0, "per_channel": False}
    plain = decibel(before, quantized(tmp_path, before, "static", **options))
    even = decibel(
        before, quantized(tmp_path, equalize(tmp_path, before, "cross_layer"), "static", **options)
    )
    assert even > plain + 10


def test_scales_of_all_sweeps_together_are_not_extreme(tmp_path: Path) -> None:
    """The second pair takes what the first gave, sweep by sweep."""
    first, last = weight(12, 12), weight(12, 6)
    last[:, :] *= np.float32(1e-25)
    nodes = [
        node("MatMul", "x one", "a", "first"), node("Relu", "a", "b"), node("MatMul", "b two", "c", "second"),
        node("Relu", "c", "d"), node("MatMul", "d three", "y", "third"),
    ]  # fmt: skip
    before = model(nodes, {"one": first, "two": weight(12, 12), "three": last}, ["n", 12])
    after = equalize(tmp_path, before, "cross_layer")
    for name in ("one", "three"):
        ratio = np.abs(arrays(after)[name] / arrays(before)[name])
        assert ratio.min() > 0.99e-5
        assert ratio.max() < 1.01e5


def test_grouped_and_transposed_filters_are_scaled_by_their_own_channels(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x k1 b1", "a", "plain", pads=[1] * 4),
        node("Relu", "a", "b"),
        node("Conv", "b k2", "c", "grouped", pads=[1] * 4, group=4),
        node("Relu", "c", "d"),
        node("ConvTranspose", "d k3", "e", "turned", group=2),
        node("MaxPool", "e", "f", kernel_shape=[2, 2]),
        node("Conv", "f k4", "y", "last"),
    ]
    weights = {"k1": weight(8, 3, 3, 3), "b1": weight(8), "k2": weight(12, 2, 3, 3), "k3": weight(12, 3, 2, 2),
               "k4": weight(5, 6, 1, 1)}  # fmt: skip
    before = model(nodes, weights, ["n", 3, 8, 8])
    after = equalize(tmp_path, before, "cross_layer")
    assert moved(after) == "scales moved: k1 → k2, k2 → k3, k3 → k4"
    assert decibel(before, after) > 100


def test_a_channel_that_is_always_zero_takes_no_scale(tmp_path: Path) -> None:
    dead, bias = weight(24, 12), weight(24)
    dead[3], bias[3] = 0, -1
    for way in ("smooth_quant", "cross_layer"):
        before = mlp(**{"one.weight": dead, "one.bias": bias})
        after = equalize(tmp_path, before, way)
        assert all(np.isfinite(array).all() for array in arrays(after).values())
        assert decibel(before, after) > 100


def test_activations_that_are_not_finite_are_an_error_with_the_layer(tmp_path: Path) -> None:
    nodes = [
        node("Log", "x", "a", "log"),
        node("LayerNormalization", "a gain", "b", "norm"),
        node("MatMul", "b w", "y", "product"),
    ]
    before = model(nodes, {"gain": weight(8), "w": weight(8, 8)}, ["n", 8])
    with pytest.raises(StageError, match="what gain → w reads holds NaN or infinity"):
        equalize(tmp_path, before, "smooth_quant")


@WAYS
def test_a_scale_that_only_one_side_gets_is_found(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(array: dict[str, Any], pair: Any, scale: Any) -> None:
        for touch in pair.makers[:1]:  # the bias is forgotten
            onnx_scaling.scaled(array, touch, 1 / scale)
        for touch in pair.readers:
            onnx_scaling.scaled(array, touch, scale)

    monkeypatch.setattr(onnx_scaling, "move", half)
    with pytest.raises(StageError, match="answers otherwise than before"):
        equalize(tmp_path, mlp(), way)


@WAYS
def test_what_is_quantized_after_it_is_held_to_the_moved_weights(tmp_path: Path, way: str) -> None:
    onnx.save(mlp().value, tmp_path / "net.onnx")
    data = write_samples(tmp_path, {"x": [12]})
    alpha = ", alpha: 0.5" if way == "smooth_quant" else ""
    recipe = f"recipe: [{{equalize: {way}{alpha}}}, {{quantize: static, float_share: 0}}]"
    text = f"model: {{onnx: net.onnx}}\n{data}{recipe}\nthresholds: {{fidelity: 15}}\n"
    weighed = weigh(tmp_path, text, also=("fidelity", "round_trip"))
    assert {verdict.threshold: verdict.status for verdict in weighed.result.verdicts} == {
        "fidelity": Status.PASS,
        "round_trip": Status.PASS,
    }


def test_after_a_quantization_it_is_a_fault_of_the_file(tmp_path: Path) -> None:
    onnx.save(mlp().value, tmp_path / "net.onnx")
    data = write_samples(tmp_path, {"x": [12]})
    recipe = "recipe: [{quantize: static}, {equalize: cross_layer}]"
    with pytest.raises(CaseError, match="equalize first, then quantize"):
        weigh(tmp_path, f"model: {{onnx: net.onnx}}\n{data}{recipe}\nthresholds: {{fidelity: 15}}\n")
