"""`alpha: auto` takes what leaves the least noise in the layers that read an activation, and no scale where none is worth it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.equalize.moving import attention, equalize, moved
from tests.equalize.test_inserted_scales import WIDTH, inserted
from tests.found.onnx_graphs import decibel, model, node, quantize, weight

from weighbridge.contracts import Model
from weighbridge.core.errors import StageError
from weighbridge.steps.equalize.activations import ROWS, Activation, rounding_noise

LOUD = np.where(np.arange(WIDTH) % 4, 1, 60).astype(np.float32)


def quantized(folder: Path, before: Model, after: Model) -> float:
    """What the whole model keeps of its output in 8 bits, in dB."""
    return decibel(before, quantize(folder, after, "static", float_share=0))


def test_it_is_about_as_good_as_the_best_that_is_tried_by_hand(tmp_path: Path) -> None:
    """Channels that are loud and read a little more quietly: a scale too small or too large leaves one side with outliers."""
    gain = np.where(np.arange(WIDTH) % 4, 1, 200).astype(np.float32)
    weights = {"gain": gain, "shift": weight(WIDTH) * gain, "up": weight(WIDTH, 32) / gain[:, None] ** 0.3}
    nodes = [node("LayerNormalization", "x gain shift", "n", "norm"), node("MatMul", "n up", "y", "up")]
    before = model(nodes, weights, ["n", 6, WIDTH])
    by_hand = [
        quantized(tmp_path, before, equalize(tmp_path, before, "smooth_quant", alpha=alpha))
        for alpha in (0.1, 0.5, 0.9)
    ]
    after = equalize(tmp_path, before, "smooth_quant", alpha="auto")
    assert decibel(before, after) > 100
    assert quantized(tmp_path, before, after) > max(by_hand) - 1
    assert max(by_hand) > min(by_hand) + 2, "else any would do"
    assert after.notes[-1].startswith("alpha: 0.")


def test_only_what_gains_is_scaled(tmp_path: Path) -> None:
    before = attention(LOUD)
    after = equalize(tmp_path, before, "smooth_quant", insert=True, alpha="auto")
    assert "norm1 → query, key, value" in moved(after)
    assert "out" not in inserted(after), "what attention mixes has no outliers"
    assert quantized(tmp_path, before, after) > quantized(tmp_path, before, before) + 6


def test_what_takes_no_scale_gets_no_vector_of_its_own(tmp_path: Path) -> None:
    """Two normalizations read one vector, as exporters store equal ones once, and one of them is worth a scale."""
    weights = {"loud": LOUD, "plain": np.ones(WIDTH, np.float32), "shift": weight(WIDTH)}
    nodes = [
        node("LayerNormalization", "x loud shift", "n", "norm1"),
        node("MatMul", "n up", "h", "up"),
        node("LayerNormalization", "x plain shift", "m", "norm2"),
        node("MatMul", "m down", "g", "down"),
        node("Add", "h g", "y", "add"),
    ]
    read = {"up": weight(WIDTH, 32) / LOUD[:, None], "down": weight(WIDTH, 32)}
    before = model(nodes, {**weights, **read}, ["n", 6, WIDTH])
    after = equalize(tmp_path, before, "smooth_quant", alpha="auto")
    assert moved(after) == "scales moved: loud → up"
    stored = {tensor.name for tensor in after.value.graph.initializer}
    assert stored == {*weights, *read, "shift_norm1"}


def test_where_nothing_is_gained_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"no scale halves the noise .* leave the step out"):
        equalize(tmp_path, attention(), "smooth_quant", alpha="auto")


def test_what_is_always_zero_has_no_noise_to_halve(tmp_path: Path) -> None:
    weights = {"gain": np.zeros(WIDTH, np.float32), "up": weight(WIDTH, 32), "base": weight(6, 32)}
    nodes = [
        node("LayerNormalization", "x gain", "n", "norm"),
        node("MatMul", "n up", "h", "up"),
        node("ReduceMean", "x", "m", "mean", axes=[-1]),
        node("Mul", "m base", "b", "spread"),
        node("Add", "h b", "y", "add"),
    ]
    with pytest.raises(StageError, match="leave the step out"):
        equalize(tmp_path, model(nodes, weights, ["n", 6, WIDTH]), "smooth_quant", alpha="auto")


@pytest.mark.parametrize("alpha", [-0.1, 1.1, "best"])
def test_other_alphas_are_refused(tmp_path: Path, alpha: object) -> None:
    with pytest.raises(ValueError, match="alpha"):
        equalize(tmp_path, attention(), "smooth_quant", alpha=alpha)


def test_noise_is_that_of_8_bits_and_the_worst_layers() -> None:
    random = np.random.default_rng(0)
    rows = random.uniform(-1, 1, (400, 8))
    seen = Activation.of(8)
    seen.add(rows, -1)
    even, uneven = weight(8, 6), weight(8, 6) * np.array([1e-3, *[1.0] * 7], np.float32)[:, None]
    steps = np.abs(even).max(0) / 127
    rounded = (np.rint(rows * 127.5) / 127.5) @ (np.rint(even / steps) * steps)
    noise = np.square(rounded - rows @ even).sum() / np.square(rows @ even).sum()
    assert rounding_noise(seen, [even], None) == pytest.approx(noise, rel=0.1)
    assert rounding_noise(seen, [even, uneven], None) == max(
        rounding_noise(seen, [one], None) for one in (even, uneven)
    )


def test_every_value_counts_for_the_range_and_few_are_kept() -> None:
    random = np.random.default_rng(0)
    calls = random.standard_normal((5, 7, 3, 300))
    seen = Activation.of(3)
    for values in calls:
        seen.add(values, 1)
    assert (seen.high == calls.max((0, 1, 3))).all()
    assert (seen.low == calls.min((0, 1, 3))).all()
    assert (seen.reach == np.abs(calls).max((0, 1, 3))).all()
    assert seen.rows.shape == (ROWS, 3)
