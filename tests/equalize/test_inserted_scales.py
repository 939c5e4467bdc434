"""`insert: true`: dense layers whose input takes no scale have one in front, and the network computes the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.equalize.moving import attention, equalize, moved
from tests.found.onnx_graphs import arrays, decibel, model, node, quantize, weight
from tests.prune.random_graphs import Network

from weighbridge.contracts import Model
from weighbridge.core.errors import StageError

WIDTH = 16


def after_the_sum(loud: float = 1.0) -> Model:
    """A block as BERT has it: what a normalization gives is read by dense layers, and added to what they make of it.

    A channel of every fourth is `loud`, and read as much more quietly. Two nodes read one stored shape.
    """
    gain = np.ones(WIDTH, np.float32)
    gain[::4] = loud
    nodes = [
        node("LayerNormalization", "x norm.gain norm.shift", "n", "norm"),
        node("MatMul", "n up", "h", "up"),
        node("Tanh", "h", "t", "tanh"),
        node("MatMul", "t down", "d", "down"),
        node("Mul", "n quiet", "q", "quieter"),
        node("Add", "q d", "r", "residual"),
        node("Reshape", "r rows", "f", "flat"),
        node("Exp", "f", "e", "exp"),
        node("Reshape", "e rows", "y", "still"),
    ]
    weights = {
        "norm.gain": gain,
        "norm.shift": weight(WIDTH) * gain,
        "up": weight(WIDTH, 32) / gain[:, None],
        "down": weight(32, WIDTH),
        "quiet": 1 / gain,
        "rows": np.array([0, 0, -1]),
    }
    return model(nodes, weights, ["n", 6, WIDTH])


def inserted(after: Model) -> list[str]:
    """The dense layers with a Mul in front that was not there."""
    made = {
        each.output[0] for each in after.value.graph.node if each.op_type == "Mul" and "scaled" in each.name
    }
    return [
        each.name for each in after.value.graph.node if each.op_type == "MatMul" and each.input[0] in made
    ]


def test_without_it_the_refusal_says_so(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="`insert: true` puts scales in front of dense layers"):
        equalize(tmp_path, after_the_sum(), "smooth_quant")


def test_outliers_behind_a_sum_are_given_back_their_codes(tmp_path: Path) -> None:
    before = after_the_sum(60.0)
    after = equalize(tmp_path, before, "smooth_quant", insert=True, alpha=0.9)
    assert inserted(after) == ["up", "down"]
    assert decibel(before, after) > 100
    plain = decibel(before, quantize(tmp_path, before, "static", float_share=0))
    assert decibel(before, quantize(tmp_path, after, "static", float_share=0)) > plain + 10


def test_what_is_excluded_reads_what_it_did(tmp_path: Path) -> None:
    before = after_the_sum()
    after = equalize(tmp_path, before, "smooth_quant", insert=True, exclude=["up"])
    assert inserted(after) == ["down"]
    np.testing.assert_array_equal(arrays(after)["up"], arrays(before)["up"])
    assert not [
        name for name, array in arrays(after).items() if name.endswith("_scale") and (array == 1).all()
    ]


def test_where_a_scale_can_move_none_is_put(tmp_path: Path) -> None:
    after = equalize(tmp_path, attention(), "smooth_quant", insert=True)
    assert inserted(after) == ["out"], "which reads what attention mixes"
    assert "norm1 → query, key, value" in moved(after)


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_compute_the_same(tmp_path: Path, seed: int) -> None:
    before = Network(seed).graph()
    after = equalize(tmp_path, before, "smooth_quant", insert=True)
    assert decibel(before, after) > 80
