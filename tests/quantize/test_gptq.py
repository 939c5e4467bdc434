"""`quantize: gptq` for ONNX: codes that make up for each other, on the grid that `weight_only` has, and no further off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from tests.found.onnx_graphs import (
    answers,
    decibel,
    findings,
    model,
    node,
    products,
    quantized,
    samples,
    stored,
    weight,
)
from tests.projects import weigh, write_samples

from weighbridge.contracts import STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.results import Status
from weighbridge.steps.quantize.gptq import rounded_together

GPTQ, NEAREST = (STEPS.get(f"quantize:{method}@onnxruntime") for method in ("gptq", "weight_only"))


def correlated(n: int = 256, width: int = 40) -> Any:
    """Inputs that depend on a few numbers, as those of real data do."""
    random = np.random.default_rng(3)
    mixed = random.standard_normal((6, width))
    hidden = random.standard_normal((n, 6)) @ mixed
    return (hidden + 0.1 * random.standard_normal((n, width))).astype(np.float32)


def quantize(step: Any, folder: Path, made: Model, **options: Any) -> Model:
    x = (
        correlated()
        if made.value.graph.input[0].type.tensor_type.shape.dim[-1].dim_value == 40
        else samples(made)
    )
    data = Data(splits={"calibration": (x, np.zeros(len(x)))})
    return step.apply(made, step.options.model_validate(options), Context(folder, folder, 0, data))


def noise(before: Model, after: Model) -> float:
    """Decibel on other inputs of the same kind as those that were calibrated on."""
    x = correlated(512)[256:]
    wanted, got = answers(before, x), answers(after, x)
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()))


@pytest.mark.parametrize("bits", [4, 8])
def test_the_outputs_are_nearer_than_with_every_number_rounded_for_itself(tmp_path: Path, bits: int) -> None:
    before = products(40, 24)
    options = {"bits": bits, "accuracy_level": 1}
    plain, after = (quantize(step, tmp_path, before, **options) for step in (NEAREST, GPTQ))
    assert noise(before, after) > noise(before, plain) + 3
    assert quantized(after) == {"first": True, "second": True, "third": True}
    for name, tensor in stored(after).items():
        other = stored(plain)[name]
        assert tensor.quantization is not None, name
        assert other.quantization is not None, name
        assert (tensor.quantization.scale == other.quantization.scale).all()
        assert (tensor.quantization.zero_point == other.quantization.zero_point).all()
        assert np.abs(tensor.array.astype(int) - other.array).max() == 1


@st.composite
def layers(draw: st.DrawFn) -> tuple[Any, ...]:
    """Weights [outputs, inputs], inputs [samples, inputs], and a grid of 4 bits for each block of two inputs."""
    outputs, blocks, count = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    weights = random.standard_normal((outputs, 2 * blocks)) * draw(st.sampled_from([1e-3, 1.0, 1e3]))
    rank = draw(st.integers(1, 2 * blocks))
    x = random.standard_normal((count, rank)) @ random.standard_normal((rank, 2 * blocks))
    x[:, draw(st.lists(st.integers(0, 2 * blocks - 1), max_size=2))] = 0  # inputs that are always silent
    grouped = weights.reshape(outputs, blocks, 2)
    low, high = np.minimum(grouped.min(2), 0), np.maximum(grouped.max(2), 0)
    scale = ((high - low) / 15).repeat(2, axis=1)
    return weights, x, scale, np.rint(-low.repeat(2, axis=1) / scale)


@given(layers())
def test_every_code_is_one_of_the_two_next_to_its_number(layer: tuple[Any, ...]) -> None:
    weights, x, scale, zero = layer
    codes = rounded_together(weights, x.T @ x, scale, zero, 15, 0.01)
    exact = weights / scale + zero
    assert ((codes >= 0) & (codes <= 15) & (codes == np.rint(codes))).all()
    assert (np.abs(codes - np.clip(exact, 0, 15)) <= 1 + 1e-9).all()
    silent = ~x.any(axis=0)
    if not x.any():
        assert (codes == np.clip(np.rint(exact), 0, 15)).all()
    elif silent.any():  # what is always zero has nobody to make up for, and nobody makes up for it
        assert (np.abs(codes - exact)[:, silent] <= 0.5 + 1e-9).all()


def test_inputs_that_have_nothing_in_common_are_rounded_to_nearest() -> None:
    random = np.random.default_rng(0)
    weights, loud = random.standard_normal((6, 20)), np.diag(random.uniform(0.1, 9, 20))
    scale, zero = np.full((6, 20), 0.4), np.full((6, 20), 8.0)
    codes = rounded_together(weights, loud, scale, zero, 15, 0.01)
    assert (codes == np.clip(np.rint(weights / scale + zero), 0, 15)).all()


@pytest.mark.parametrize("inputs", [40, 300])
def test_what_the_codes_do_to_the_outputs_is_less(inputs: int) -> None:
    """300 inputs are more than are passed on at once."""
    random = np.random.default_rng(1)
    weights, x = random.standard_normal((8, inputs)), correlated(400, inputs)
    scale, zero = np.full((8, inputs), 0.5), np.full((8, inputs), 8.0)
    codes = rounded_together(weights, x.T @ x, scale, zero, 15, 0.01)
    nearest = np.clip(np.rint(weights / scale + zero), 0, 15)
    lost = [np.square(x @ ((each - zero) * scale - weights).T).sum() for each in (codes, nearest)]
    assert lost[0] < lost[1] / 4


def test_a_matrix_of_two_products_is_fitted_to_both(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "a", "one"), node("Relu", "a", "b"), node("MatMul", "b w", "y", "two")]
    before = model(nodes, {"w": weight(40, 40)}, ["n", 40])
    after = quantize(GPTQ, tmp_path, before, accuracy_level=1)
    assert len(stored(after)) == 1
    assert noise(before, after) > noise(before, quantize(NEAREST, tmp_path, before, accuracy_level=1))


def test_blocks_of_zeros_stay_zeros(tmp_path: Path) -> None:
    pruned = weight(40, 16)
    pruned[:32, 3:8] = 0
    before = model([node("MatMul", "x w", "y", "one")], {"w": pruned}, ["n", 40])
    after = quantize(GPTQ, tmp_path, before)
    assert not stored(after)["w"].values().T[:32, 3:8].any()
    assert noise(before, after) > 15


def test_inputs_that_are_not_finite_are_an_error_with_the_layer(tmp_path: Path) -> None:
    nodes = [node("Log", "x", "a", "log"), node("MatMul", "a w", "y", "one")]
    before = model(nodes, {"w": weight(40, 16)}, ["n", 40])
    with pytest.raises(StageError, match="what w is multiplied with holds NaN or infinity"):
        quantize(GPTQ, tmp_path, before)


def test_stacks_of_rows_and_what_is_excluded(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "a", "one"), node("MatMul", "a v", "y", "two")]
    before = model(nodes, {"w": weight(16, 32), "v": weight(32, 8)}, ["n", 5, 16])
    after = quantize(GPTQ, tmp_path, before, exclude=["two"])
    assert quantized(after) == {"one": True, "two": False}
    assert decibel(before, after) > 15


@pytest.mark.parametrize("fault", [None, "rounded to nearest", "two steps off", "a block", "a scale"])
def test_the_round_trip_finds_a_wrong_file(fault: str | None, tmp_path: Path) -> None:
    before = products(40, 24)
    after = quantize(NEAREST if fault == "rounded to nearest" else GPTQ, tmp_path, before)
    tensors = {each.name: each for each in after.value.graph.initializer}
    codes, scale = (numpy_helper.to_array(tensors[f"first_{end}"]).copy() for end in ("quantized", "scale"))
    if fault == "two steps off":
        codes[3, 0, 2] ^= 0b0010
        codes[3, 0, 3] ^= 0b0100
    if fault == "a block":
        codes[3, 0] = codes[3, 0][::-1]
    if fault == "a scale":
        scale.reshape(-1)[5] *= 1.5
    tensors["first_quantized"].CopyFrom(numpy_helper.from_array(codes, "first_quantized"))
    tensors["first_scale"].CopyFrom(numpy_helper.from_array(scale, "first_scale"))
    assert GPTQ.scheme is not None
    found = findings(before, after, GPTQ.scheme(GPTQ.options()))
    assert bool(found) == (fault not in (None, "rounded to nearest")), found


def test_a_case_holds_it_to_its_promise_and_to_its_properties(tmp_path: Path) -> None:
    onnx.save(products(40, 24).value, tmp_path / "net.onnx")
    data = write_samples(tmp_path, {"x": [40]})
    text = f"model: {{onnx: net.onnx}}\n{data}recipe: [{{quantize: gptq}}]\nthresholds: {{fidelity: 12}}\n"
    weighed = weigh(tmp_path, text, also=("fidelity", "round_trip"))
    assert {verdict.threshold: verdict.status for verdict in weighed.result.verdicts} == {
        "fidelity": Status.PASS,
        "round_trip": Status.PASS,
    }
