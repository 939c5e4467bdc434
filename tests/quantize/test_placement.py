"""What the quantize steps of ONNX Runtime take by themselves, what they leave in float, and what can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper
from tests.found.onnx_graphs import decibel, model, node, quantize, quantized, weight

from weighbridge.contracts import Model
from weighbridge.core.errors import StageError
from weighbridge.environment import requirements
from weighbridge.steps.quantize.onnx_saturation import saturating
from weighbridge.steps.quantize.onnx_static import StaticOptions
from weighbridge.steps.quantize.onnx_wiring import Wiring


def network() -> Model:
    """A light first convolution, a heavy one with a swish, one behind pooling, and a Gemm."""
    nodes = [
        node("Conv", "x stem", "a", "stem", pads=[1] * 4),
        node("Relu", "a", "a1", "act"),
        node("Conv", "a1 body", "b", "body", pads=[1] * 4),
        node("Sigmoid", "b", "s", "gate"),
        node("Mul", "b s", "b1", "swish"),
        node("Conv", "b1 wide", "c", "wide", pads=[1] * 4),
        node("MaxPool", "c", "c1", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "c1 deep", "d", "deep", pads=[1] * 4),
        node("GlobalAveragePool", "d", "e", "mean"),
        node("Flatten", "e", "f", "flat"),
        node("Gemm", "f head", "y", "head"),
    ]
    weights = {
        "stem": weight(4, 3, 1, 1),
        "body": weight(32, 4, 3, 3),
        "wide": weight(32, 32, 3, 3),
        "deep": weight(32, 32, 3, 3),
        "head": weight(32, 24),
    }
    return model(nodes, weights, ["n", 3, 8, 8])


def integers(after: Model) -> set[str]:
    """The nodes that read what a DequantizeLinear gives, and are not weights' own."""
    given = {each.output[0] for each in after.value.graph.node if each.op_type == "DequantizeLinear"}
    return {each.name for each in after.value.graph.node if given & set(each.input[:1])}


def rounded(after: Model) -> set[str]:
    return {each.input[0] for each in after.value.graph.node if each.op_type == "QuantizeLinear"}


def test_products_and_what_stands_between_them(tmp_path: Path) -> None:
    before = network()
    after = quantize(tmp_path, before, "static")
    assert quantized(after) == {"stem": False, "body": True, "wide": True, "deep": True, "head": True}
    assert any("stem (Conv) left in float: too few weights" in note for note in after.notes)
    assert {"body", "wide", "pool", "deep", "mean", "flat", "head"} <= integers(after)
    # The swish has no integer kernel: what it computes is rounded once, where the next product reads it.
    assert "s" not in rounded(after)
    assert decibel(before, after) > 25
    everything = quantize(tmp_path, before, "static", operators="all", per_channel=False)
    assert "s" in rounded(everything)
    assert all(quantized(everything).values())
    assert decibel(before, everything) < decibel(before, after)


def test_the_range_of_a_fused_activation_is_that_behind_it(tmp_path: Path) -> None:
    after = quantize(tmp_path, network(), "static", float_share=0)
    assert quantized(after)["stem"]
    assert "Relu" not in {each.op_type for each in after.value.graph.node}
    scales = {each.name: each for each in after.value.graph.initializer}
    assert int(numpy_helper.to_array(scales["a1_zero_point"])) == 0


def test_what_leads_out_of_the_integers_is_no_island(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x k", "a", "one", pads=[1] * 4),
        node("MaxPool", "a", "b", "pool", kernel_shape=[2, 2]),
        node("Exp", "b", "y", "out"),
    ]
    after = quantize(tmp_path, model(nodes, {"k": weight(16, 3, 3, 3)}, ["n", 3, 8, 8]), "static")
    assert rounded(after) == {"x", "a"}


def light_between(activation: str, *, pool: bool = False) -> Model:
    """A light convolution "light" behind a heavy one, an activation, and heavy layers; perhaps floats in front, and a pooling."""
    behind = {
        "relu": [node("Relu", "a", "b", "act")],
        "leaky": [node("LeakyRelu", "a", "b", "act")],
        "swish": [node("Sigmoid", "a", "s", "gate"), node("Mul", "a s", "b", "swish")],
    }[activation]
    front = [node("Exp", "h", "e0", "front")] if pool else []
    pooled = [node("MaxPool", "b", "p", "pool", kernel_shape=[2, 2], strides=[2, 2])] if pool else []
    nodes = [
        node("Conv", "x first", "h", "first", pads=[4] * 4),
        *front,
        node("Conv", f"{'e0' if pool else 'h'} light", "a", "light"),
        *behind,
        *pooled,
        node("Conv", f"{'p' if pool else 'b'} body", "c", "body", pads=[1] * 4),
        node("Conv", "c deep", "d", "deep"),
        node("GlobalAveragePool", "d", "e", "mean"),
        node("Flatten", "e", "f", "flat"),
        node("Gemm", "f head", "y", "head"),
    ]
    weights = {
        "first": weight(8, 1, 9, 9),
        "light": weight(8, 8, 1, 1),
        "body": weight(8, 8, 3, 3),
        "deep": weight(64, 8, 1, 1),
        "head": weight(64, 256),
    }
    return model(nodes, weights, ["n", 1, 8, 8])


@pytest.mark.parametrize(("activation", "integer"), [("relu", True), ("leaky", True), ("swish", False)])
def test_a_light_layer_stays_in_float_beside_floats_only(
    tmp_path: Path, activation: str, integer: bool
) -> None:
    """Behind a swish, which has no integer kernel, it costs no conversion to stay."""
    after = quantize(tmp_path, light_between(activation), "static")
    assert quantized(after)["light"] is integer
    assert sum(quantized(after).values()) == 4 + integer
    told = any("light (Conv) left in float: too few weights" in note for note in after.notes)
    assert told is not integer


def test_what_is_not_left_in_float_uses_up_no_share(tmp_path: Path) -> None:
    """The lightest is in the midst of integers; the next one, behind which a Sigmoid stands, is not."""
    nodes = [
        node("Conv", "x body", "a", "body", pads=[4] * 4),
        node("Conv", "a light", "c", "light"),
        node("Conv", "c squeeze", "c1", "squeeze", strides=[8, 8]),
        node("Sigmoid", "c1", "c2", "gate"),
        node("Conv", "c2 deep", "d", "deep"),
        node("GlobalAveragePool", "d", "e", "mean"),
        node("Flatten", "e", "f", "flat"),
        node("Gemm", "f head", "y", "head"),
    ]
    weights = {
        "body": weight(8, 1, 9, 9),
        "light": weight(8, 8, 1, 1),
        "squeeze": weight(16, 8, 1, 1),
        "deep": weight(64, 16, 1, 1),
        "head": weight(64, 400),
    }
    before = model(nodes, weights, ["n", 1, 8, 8])
    done = {"light": True, "body": True, "squeeze": False, "deep": True, "head": True}
    assert quantized(quantize(tmp_path, before, "static")) == done
    # Of the 27,464 weights, the share of 0.005 holds those 128 and not the lightest's 64 beside them.
    assert quantized(quantize(tmp_path, before, "static", float_share=0.005)) == done


def test_a_graph_of_many_ways_is_walked_once() -> None:
    """Twelve diamonds in a row are 4,096 ways from the first node to the last."""
    nodes = [node("Relu", "x", "h0", "first")]
    for place in range(12):
        nodes += [
            node("Exp", f"h{place}", f"e{place}", f"exp{place}"),
            node("Add", f"h{place} e{place}", f"h{place + 1}", f"add{place}"),
        ]
    behind = list(Wiring(model(nodes, {}, ["n", 4], ("h12",)).value).behind("first", lambda _: True))
    assert sorted(behind) == sorted(each.name for each in nodes[1:])


@pytest.mark.parametrize("activation", ["relu", "leaky"])
def test_no_float_layer_feeds_a_pooling_of_codes(tmp_path: Path, activation: str) -> None:
    """ONNX Runtime would round before the pooling, and pool codes in the layout of floats: 3.3 ns a number for 0.2."""
    after = quantize(tmp_path, light_between(activation, pool=True), "static")
    assert quantized(after)["light"]
    assert "pool" in integers(after)


def test_an_activation_written_out_is_no_island_of_integers(tmp_path: Path) -> None:
    """A hard swish: Add and Clip have integer kernels, and Mul behind them has none that would be worth it."""
    nodes = [
        node("Conv", "x k", "a", "one", pads=[1] * 4),
        node("Add", "a three", "b", "shift"),
        node("Clip", "b low high", "c", "bounds"),
        node("Mul", "a c", "d", "times"),
        node("Conv", "d k2", "y", "two", pads=[1] * 4),
    ]
    numbers = {"three": 3.0, "low": 0.0, "high": 6.0}
    weights = {"k": weight(16, 3, 3, 3), "k2": weight(16, 16, 3, 3)}
    weights |= {name: np.array(value, np.float32) for name, value in numbers.items()}
    after = quantize(tmp_path, model(nodes, weights, ["n", 3, 8, 8]), "static", float_share=0)
    assert {"x", "a", "d"} <= rounded(after)
    assert rounded(after).isdisjoint({"b", "c"})


def test_types_and_layers_can_be_asked_for(tmp_path: Path) -> None:
    before = network()
    only = quantize(tmp_path, before, "static", operators=["Gemm"])
    assert [name for name, done in quantized(only).items() if done] == ["head"]
    assert any("`operators` has no Conv" in note for note in only.notes)
    assert only.coverage is not None
    assert [layer.name for layer in only.coverage.layers if layer.asked] == ["head"]
    named = quantize(tmp_path, before, "static", layers=["stem", "deep"])
    assert [name for name, done in quantized(named).items() if done] == ["stem", "deep"]
    assert any("`layers` does not name it" in note for note in named.notes)
    both = quantize(tmp_path, before, "static", layers=["Conv"], exclude=["deep"])
    assert {layer.name: layer.reason for layer in both.coverage.left} == {
        "deep": "`exclude` names it",
        "head": "`layers` does not name it",
    }


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        (
            ["Conf"],
            "operators: ONNX Runtime does not quantize 'Conf'; did you mean 'Conv'.*or `all`, or `auto`",
        ),
        (["MatMul"], "operators: the graph has no MatMul.*it has: Conv"),
    ],
)
def test_operators_that_are_not_there(tmp_path: Path, operators: list[str], message: str) -> None:
    with pytest.raises(StageError, match=message):
        quantize(tmp_path, network(), "static", operators=operators)


def test_dynamic_leaves_convolutions(tmp_path: Path) -> None:
    before = network()
    after = quantize(tmp_path, before, "dynamic")
    assert [name for name, done in quantized(after).items() if done] == ["head"]
    assert any("no faster in integers; `operators: [Conv]` quantizes it" in note for note in after.notes)
    asked = quantize(tmp_path, before, "dynamic", operators=["Conv"])
    assert not quantized(asked)["head"]
    assert quantized(asked)["deep"]
    named = quantize(tmp_path, before, "dynamic", layers=["deep"])
    assert [name for name, done in quantized(named).items() if done] == ["deep"]


def test_nothing_but_convolutions(tmp_path: Path) -> None:
    made = model([node("Conv", "x k", "y", "one")], {"k": weight(16, 3, 3, 3)}, ["n", 3, 8, 8])
    with pytest.raises(
        StageError, match=r"nothing to convert but Conv.*`quantize: static`.*operators: \[Conv\]"
    ):
        quantize(tmp_path, made, "dynamic")


# ------------------------------------------------------------------------------- processors without VNNI


@pytest.mark.parametrize(
    ("flags", "reduced"), [({"avx2"}, True), ({"avx2", "avx512_vnni"}, False), ({"asimd"}, False)]
)
def test_seven_bits_where_this_processor_needs_them(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], reduced: bool
) -> None:
    monkeypatch.setattr(requirements, "isa", lambda: frozenset(flags))
    assert StaticOptions().reduce_range is reduced
    assert not StaticOptions(reduce_range=False).reduce_range


def stored_codes(kind: str, codes: Any) -> Any:
    nodes = [
        node("DequantizeLinear", "w_quantized s z", "w"),
        node("QuantizeLinear", "x s u", "x_codes"),
        node("DequantizeLinear", "x_codes s u", "x_read"),
        node(kind, "x_read w", "y", "product"),
    ]
    weights = {"w_quantized": codes, "s": np.float32(1), "z": np.int8(0), "u": np.uint8(0)}
    return model(nodes, weights, ["n", 2]).value


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ([[127], [127]], True),  # one output, two products that are added
        ([[127], [-127]], False),
        ([[127, 127]], False),  # two outputs
        ([[64], [64]], False),
        ([[-127], [-2]], True),
    ],
)
def test_pairs_of_weights_that_overflow_elsewhere(codes: list[list[int]], told: bool) -> None:
    found = saturating(stored_codes("MatMul", np.array(codes, np.int8)))
    assert bool(found) is told
    if told:
        assert (
            "100.00% of the neighbouring int8 weights could overflow on x86 processors without VNNI"
            in found[0]
        )


def test_the_step_tells_the_share_unless_it_keeps_to_seven_bits(tmp_path: Path) -> None:
    before = network()
    notes = [
        str(quantize(tmp_path, before, "static", reduce_range=reduced).notes) for reduced in (True, False)
    ]
    assert ["could overflow" in each for each in notes] == [False, True]
