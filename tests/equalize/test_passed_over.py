"""What takes no scale: read by others, excluded, or spread by a bias; it keeps its numbers and is named with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from tests.equalize.moving import WAYS, attention, equalize, mlp, moved
from tests.found.onnx_graphs import arrays, model, node, weight

from weighbridge.contracts import Model
from weighbridge.core.errors import StageError
from weighbridge.steps.equalize.onnx_pairs import find_pairs


def reason(made: Model, name: str) -> str:
    named = onnx.ModelProto()
    named.CopyFrom(made.value)
    return find_pairs(named)[1][name]


def test_what_others_read_is_left_and_named() -> None:
    both = [
        node("MatMul", "x one", "a", "first"),
        node("Relu", "a", "b", "act"),
        node("MatMul", "b two", "c", "second"),
        node("Add", "b c", "y", "around"),
    ]
    assert "Add 'around' reads its input too" in reason(
        model(both, {"one": weight(8, 8), "two": weight(8, 8)}, ["n", 8]), "two"
    )
    output = model(both[:3], {"one": weight(8, 8), "two": weight(8, 8)}, ["n", 8], outputs=("c", "b"))
    assert "an output of the model" in reason(output, "two")
    tied = [*both[:2], node("MatMul", "b one", "y", "second")]
    assert "'one' is read elsewhere too" in reason(model(tied, {"one": weight(8, 8)}, ["n", 8]), "one")
    bent = [both[0], node("Tanh", "a", "b", "bend"), node("MatMul", "b two", "y", "second")]
    assert "Tanh 'bend' makes its input" in reason(
        model(bent, {"one": weight(8, 8), "two": weight(8, 8)}, ["n", 8]), "two"
    )


@WAYS
def test_what_is_excluded_keeps_its_numbers(tmp_path: Path, way: str) -> None:
    before = mlp()
    after = equalize(tmp_path, before, way, exclude=["three"])
    assert moved(after) == "scales moved: one → two"
    assert (arrays(after)["three"] == arrays(before)["three"]).all()
    with pytest.raises(StageError, match="no layer with scales to move matches 'four'"):
        equalize(tmp_path, before, way, exclude=["four"])
    with pytest.raises(StageError, match="no scale can be moved"):
        equalize(tmp_path, before, way, exclude=["two"])


@WAYS
def test_layers_that_are_excluded_are_named(tmp_path: Path, way: str) -> None:
    after = equalize(tmp_path, mlp(), way, exclude=["three"])
    assert any("three reads what it did: `exclude` names it" in note for note in after.notes)


def convolutions() -> Model:
    nodes = [
        node("Conv", "x k1", "a", "one"),
        node("Relu", "a", "b"),
        node("Conv", "b k2", "c", "two"),
        node("Relu", "c", "d"),
        node("GlobalAveragePool", "d", "e"),
        node("Flatten", "e", "f"),
        node("MatMul", "f w", "y", "last"),
    ]
    weights = {"k1": weight(6, 3, 1, 1), "k2": weight(5, 6, 1, 1), "w": weight(5, 4)}
    return model(nodes, weights, ["n", 3, 4, 4])


def read_by_both() -> Model:
    """A convolution and, behind a pooling, a dense layer read the same channels."""
    nodes = [
        node("Conv", "x k1", "a", "one"),
        node("Relu", "a", "b"),
        node("Conv", "b k2", "c", "two"),
        node("GlobalAveragePool", "b", "d"),
        node("Flatten", "d", "e"),
        node("MatMul", "e w", "f", "last"),
        node("GlobalMaxPool", "c", "g"),
        node("Flatten", "g", "h"),
        node("MatMul", "h v", "i", "other"),
        node("Add", "f i", "y"),
    ]
    weights = {"k1": weight(6, 3, 1, 1), "k2": weight(5, 6, 1, 1), "w": weight(6, 4), "v": weight(5, 4)}
    return model(nodes, weights, ["n", 3, 4, 4])


@pytest.mark.parametrize(
    ("way", "other", "before", "told"),
    [
        (
            "cross_layer",
            "smooth_quant",
            attention,
            "query, key, value, up reads what it did: LayerNormalization makes its input, which is no product",
        ),
        (
            "smooth_quant",
            "cross_layer",
            convolutions,
            "k2 reads what it did: a Conv reads it, and outliers go into MatMul and Gemm alone",
        ),
        (
            "smooth_quant",
            "cross_layer",
            read_by_both,
            "k2, w reads what it did: a Conv reads it, and outliers go into MatMul and Gemm alone",
        ),
    ],
)
def test_what_one_way_passes_over_is_named_with_the_reason_and_the_other_takes_it(
    tmp_path: Path, way: str, other: str, before: Callable[[], Model], told: str
) -> None:
    made = before()
    assert any(told in note for note in equalize(tmp_path, made, way).notes)
    assert not any(told in note for note in equalize(tmp_path, made, other).notes)


@WAYS
def test_one_channel_that_a_bias_spreads_is_left_and_named(tmp_path: Path, way: str) -> None:
    nodes = [
        node("MatMul", "x wide", "a", "narrow"),
        node("Add", "a bias", "b", "spread"),
        node("Relu", "b", "c"),
        node("MatMul", "c two", "d", "second"),
        node("Relu", "d", "e"),
        node("MatMul", "e three", "y", "third"),
    ]
    weights = {"wide": weight(16, 1), "bias": weight(8), "two": weight(8, 6), "three": weight(6, 4)}
    before = model(nodes, weights, ["n", 16])
    after = equalize(tmp_path, before, way)
    assert moved(after) == "scales moved: two → three"
    assert any("two reads what it did: one channel that 'narrow' makes" in note for note in after.notes)
