"""The engine litert: batches, names, order, and the scaling of quantized inputs and outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from pydantic import ValidationError
from tests.projects import weigh
from tflite_builder import (
    CAST,
    CUSTOM,
    FLOAT32,
    FULLY_CONNECTED,
    INT8,
    INT32,
    RNN,
    UINT8,
    Graph,
    Operator,
    Tensor,
    floats,
    fully_connected,
    write,
)

from weighbridge.contracts import ENGINES, FORMATS, Model
from weighbridge.core.errors import StageError
from weighbridge.core.results import Status
from weighbridge.formats.called import CALLED

RANDOM = np.random.default_rng(7)
WEIGHT = RANDOM.standard_normal((3, 5)).astype(np.float32)
SAMPLES = RANDOM.standard_normal((7, 5)).astype(np.float32)
IN, OUT, SCALE = 0.05, 0.1, 0.02
SCALE_OF_IMAGES = (0.0625, 0.2)
"""Of numbers up to 7, and of what comes of them."""


def session(content: bytes, folder: Path, called: dict | None = None, **options):
    engine = ENGINES.get("litert")
    model = Model("tflite", content, {CALLED: called} if called else {})
    artifact = FORMATS.get("tflite").save(model, folder, "model")
    return engine.open(artifact, engine.options(**options))


def float_model(**options) -> bytes:
    return write(fully_connected(Tensor("w", WEIGHT.shape, FLOAT32, floats(WEIGHT)), 3, 5, **options))


def int8_model(scales: tuple[float, float] = (IN, OUT)) -> bytes:
    codes = np.rint(WEIGHT / SCALE).clip(-127, 127).astype(np.int8)
    tensors = [
        Tensor("x", (1, 5), INT8, scale=scales[:1], zero_point=(4,)),
        Tensor("w", WEIGHT.shape, INT8, codes.tobytes(), scale=(SCALE,)),
        Tensor("b", (3,), INT32, np.zeros(3, np.int32).tobytes(), scale=(scales[0] * SCALE,)),
        Tensor("y", (1, 3), INT8, scale=scales[1:], zero_point=(-9,)),
    ]
    operator = Operator(FULLY_CONNECTED, (0, 1, 2), (3,), options=(8, schema.FullyConnectedOptionsT()))
    return write(Graph(tensors, [operator], (0,), (3,)))


@pytest.mark.parametrize("batch", [1, 3, 7, 8])
def test_a_fixed_batch_is_run_slice_by_slice(tmp_path: Path, batch: int) -> None:
    opened = session(float_model(batch=batch), tmp_path)
    (outputs,) = opened.run((SAMPLES,))
    assert opened.filled((SAMPLES,)) == -7 % batch
    np.testing.assert_allclose(outputs, SAMPLES @ WEIGHT.T, rtol=1e-5, atol=1e-5)


def test_a_free_batch_is_resized_forth_and_back(tmp_path: Path) -> None:
    opened = session(float_model(free=True), tmp_path)
    for count in (1, 7, 2):
        (outputs,) = opened.run((SAMPLES[:count],))
        np.testing.assert_allclose(outputs, SAMPLES[:count] @ WEIGHT.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{"threads": 2}, {"xnnpack": False}])
def test_options_change_how_it_runs_and_not_what_comes_out(tmp_path: Path, options: dict) -> None:
    (outputs,) = session(float_model(), tmp_path, **options).run((SAMPLES,))
    np.testing.assert_allclose(outputs, SAMPLES @ WEIGHT.T, rtol=1e-5, atol=1e-5)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValidationError):
        ENGINES.get("litert").options(delegate="gpu")


def test_quantized_inputs_and_outputs_are_scaled(tmp_path: Path) -> None:
    small = SAMPLES.clip(-2, 2)
    (outputs,) = session(int8_model(), tmp_path).run((small,))
    assert outputs.dtype == np.float32
    # Half a step of each rounding: of the input (over five weights), of the weights, of the output.
    bound = IN / 2 * np.abs(WEIGHT).sum(1).max() + SCALE / 2 * np.abs(small).sum(1).max() + OUT
    assert np.abs(outputs - small @ WEIGHT.T).max() <= bound
    assert np.abs(outputs).max() > 3 * bound  # a comparison that zeros would not pass


def test_codes_are_clamped_and_not_wrapped(tmp_path: Path) -> None:
    one = np.zeros((1, 5), np.float32)
    one[0, 0] = 1000.0
    at_the_clamp = np.zeros((1, 5), np.float32)
    at_the_clamp[0, 0] = (127 - 4) * IN
    opened = session(int8_model(), tmp_path)
    np.testing.assert_array_equal(opened.run((one,))[0], opened.run((at_the_clamp,))[0])


def test_codes_that_the_user_made_are_taken_as_codes(tmp_path: Path) -> None:
    codes = np.rint(SAMPLES.clip(-2, 2) / IN + 4).astype(np.int8)
    opened = session(int8_model(), tmp_path)
    np.testing.assert_array_equal(opened.run((codes,))[0], opened.run((SAMPLES.clip(-2, 2),))[0])


def test_whole_numbers_of_another_dtype_are_numbers(tmp_path: Path) -> None:
    """Images of uint8 went into an int8 input as its codes, and a right file lost every answer."""
    images = np.array([[0, 1, 2, 3, 6], [6, 5, 0, 0, 1]])
    opened = session(int8_model(), tmp_path)
    (expected,) = opened.run((images.astype(np.float32),))
    for dtype in (np.uint8, np.int64):
        np.testing.assert_array_equal(opened.run((images.astype(dtype),))[0], expected)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.float32])
def test_a_right_file_is_given_the_numbers_that_its_original_is_given(tmp_path: Path, dtype: type) -> None:
    """Samples of the quantized input's own type were codes for the one and numbers for the other."""
    images = np.random.default_rng(0).integers(0, 7, (60, 5))
    labels = (images @ WEIGHT.T).argmax(1)
    np.savez(tmp_path / "data.npz", x=images.astype(dtype), y=labels)
    (tmp_path / "float.tflite").write_bytes(float_model())
    (tmp_path / "int8.tflite").write_bytes(int8_model(SCALE_OF_IMAGES))
    text = "candidate: {tflite: int8.tflite}\ndata: data.npz\nthresholds: {accuracy_drop: 0.1}\n"
    weighed = weigh(tmp_path, f"model: {{tflite: float.tflite}}\n{text}")
    assert weighed.result.status is Status.PASS, weighed.result


def test_inputs_by_name(tmp_path: Path) -> None:
    opened = session(float_model(), tmp_path)
    np.testing.assert_array_equal(opened.run({"pixels": SAMPLES})[0], opened.run((SAMPLES,))[0])
    with pytest.raises(StageError, match="no input 'pixels'; did you mean 'pixel'"):
        opened.run({"pixel": SAMPLES})


def test_wrong_inputs_are_said(tmp_path: Path) -> None:
    opened = session(float_model(), tmp_path)
    with pytest.raises(StageError, match=r"is \[1, 5\] in the file and \[7, 4\] in the data"):
        opened.run((SAMPLES[:, :4],))
    with pytest.raises(StageError, match="1 inputs, the data 2"):
        opened.run((SAMPLES, SAMPLES))


def test_outputs_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """TensorFlow's converter writes Keras 3's outputs in another order than the model's."""
    options = (8, schema.FullyConnectedOptionsT())
    tensors = [
        Tensor("x", (1, 5)),
        Tensor("w", WEIGHT.shape, FLOAT32, floats(WEIGHT)),
        Tensor("v", WEIGHT.shape, FLOAT32, floats(-WEIGHT)),
        Tensor("first", (1, 3)),
        Tensor("second", (1, 3)),
    ]
    operators = [
        Operator(FULLY_CONNECTED, (0, 1, -1), (3,), options=options),
        Operator(FULLY_CONNECTED, (0, 2, -1), (4,), options=options),
    ]
    swapped = Graph(tensors, operators, (0,), (4, 3), {"args_0": 0}, {"output_0": 3, "output_1": 4})
    first, second = session(write(swapped), tmp_path).run((SAMPLES,))
    np.testing.assert_allclose(first, SAMPLES @ WEIGHT.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(first, -second)


def test_which_of_several_signatures_is_judged_has_to_be_said(tmp_path: Path) -> None:
    """The first graph alone is run: of what an application calls by another name nothing would be known."""

    def graph(sign: int, **names) -> Graph:
        return fully_connected(Tensor("w", WEIGHT.shape, FLOAT32, floats(sign * WEIGHT)), 3, 5, **names)

    two = write(graph(1), graph(-1))
    with pytest.raises(StageError, match=r"signatures serving_default, other_1, which run different graphs"):
        session(two, tmp_path)
    with pytest.raises(StageError, match=r"no signature 'serving_defaut'; did you mean 'serving_default'"):
        session(two, tmp_path, signature="serving_defaut")
    with pytest.raises(StageError, match=r"'other_1' of model\.tflite runs another graph than its first"):
        session(two, tmp_path, signature="other_1")
    opened = session(two, tmp_path, signature="serving_default")
    np.testing.assert_allclose(opened.run((SAMPLES,))[0], SAMPLES @ WEIGHT.T, rtol=1e-5, atol=1e-5)
    # The original of one graph, and a body of a loop, which has no signature, leave nothing to choose.
    for content in (write(graph(1)), write(graph(1), graph(-1, names=False))):
        assert session(content, tmp_path, signature="serving_default").signature == "serving_default"
        assert session(content, tmp_path).signature == "serving_default"


def test_what_is_timed_runs_the_batch(tmp_path: Path) -> None:
    opened = session(float_model(), tmp_path)
    one, many = opened.bind((SAMPLES[:1],)), opened.bind((SAMPLES,))
    np.testing.assert_allclose(one()[0], SAMPLES[:1] @ WEIGHT.T, rtol=1e-5, atol=1e-5)
    assert len(many()) == 7


def test_a_custom_operator_is_refused_by_name(tmp_path: Path) -> None:
    graph = Graph(
        [Tensor("x", (1, 2)), Tensor("y", (1, 2))],
        [Operator(CUSTOM, (0,), (1,), custom="Wavelet")],
        (0,),
        (1,),
    )
    with pytest.raises(StageError, match="custom operators that LiteRT has no kernel for: Wavelet"):
        session(write(graph), tmp_path)


def test_an_operator_of_tensorflow_s_own_says_how_to_do_without(tmp_path: Path) -> None:
    graph = Graph(
        [Tensor("x", (1, 2)), Tensor("y", (1, 2))],
        [Operator(CUSTOM, (0,), (1,), custom="FlexErf")],
        (0,),
        (1,),
    )
    with pytest.raises(
        StageError, match=r"\(select TF ops\).*FlexErf; convert the model with TFLITE_BUILTINS"
    ):
        session(write(graph), tmp_path)


def test_inspect_shows_what_a_quantized_file_takes_and_random_samples_are_floats(tmp_path: Path) -> None:
    tflite = FORMATS.get("tflite")
    quantized = Model("tflite", int8_model())
    inputs, outputs = tflite.ports(quantized)
    assert [port["dtype"] for port in (*inputs, *outputs)] == ["int8", "int8"]
    assert tflite.inputs(quantized)[1] == {"x": "float32"}
    assert [port["name"] for port in tflite.ports(Model("tflite", float_model()))[1]] == ["scores"]


def test_opening_and_running_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    session(float_model(), tmp_path).run((SAMPLES,))
    assert capfd.readouterr() == ("", "")


def recurrent(signature: tuple[int, ...] | None = None) -> tuple[bytes, np.ndarray, np.ndarray]:
    """h(t) = tanh(W x(t) + R h(t-1)), whose kernel keeps h from call to call; and W and R."""
    random = np.random.default_rng(3)
    weight = random.normal(0, 0.5, (4, 3)).astype(np.float32)
    back = random.normal(0, 0.5, (4, 4)).astype(np.float32)
    options = schema.SequenceRNNOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.TANH
    tensors = [
        Tensor("x", (1, 6, 3), signature=signature),
        Tensor("w", weight.shape, FLOAT32, floats(weight)),
        Tensor("r", back.shape, FLOAT32, floats(back)),
        Tensor("b", (4,), FLOAT32, floats(np.zeros(4))),
        Tensor("h", (1, 4), kept=True),
        Tensor("y", (1, 6, 4), signature=signature and (*signature[:2], 4)),
    ]
    operator = Operator(RNN, (0, 1, 2, 3, 4), (5,), options=(31, options))
    return write(Graph(tensors, [operator], (0,), (5,))), weight, back


def unrolled(samples: np.ndarray, weight: np.ndarray, back: np.ndarray) -> np.ndarray:
    state, steps = np.zeros((len(samples), len(weight)), np.float32), []
    for at in range(samples.shape[1]):
        state = np.tanh(samples[:, at] @ weight.T + state @ back.T)
        steps.append(state)
    return np.stack(steps, 1)


def test_what_a_recurrent_kernel_keeps_does_not_go_from_sample_to_sample(tmp_path: Path) -> None:
    content, weight, back = recurrent()
    samples = RANDOM.standard_normal((5, 6, 3)).astype(np.float32)
    opened = session(content, tmp_path)
    for _ in range(2):
        np.testing.assert_allclose(opened.run((samples,))[0], unrolled(samples, weight, back), atol=1e-5)


@pytest.mark.parametrize("time", [6, 9])
def test_a_fixed_batch_with_a_free_inner_size_is_run_slice_by_slice(tmp_path: Path, time: int) -> None:
    content, weight, back = recurrent(signature=(1, -1, 3))
    samples = RANDOM.standard_normal((5, time, 3)).astype(np.float32)
    opened = session(content, tmp_path)
    np.testing.assert_allclose(opened.run((samples,))[0], unrolled(samples, weight, back), atol=1e-5)
    with pytest.raises(StageError, match=r"is \[1, \?, 3\] in the file and \[5, 9, 2\] in the data"):
        opened.run((np.zeros((5, 9, 2), np.float32),))


def pixels() -> bytes:
    """A file that takes uint8 and no codes, as one with its preprocessing inside."""
    tensors = [
        Tensor("x", (1, 5), UINT8),
        Tensor("f", (1, 5)),
        Tensor("w", WEIGHT.shape, FLOAT32, floats(WEIGHT)),
        Tensor("y", (1, 3)),
    ]
    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = UINT8, FLOAT32
    operators = [
        Operator(CAST, (0,), (1,), options=(37, cast)),
        Operator(FULLY_CONNECTED, (1, 2, -1), (3,), options=(8, schema.FullyConnectedOptionsT())),
    ]
    return write(Graph(tensors, operators, (0,), (3,)))


def test_whole_floats_are_given_to_an_input_of_whole_numbers(tmp_path: Path) -> None:
    whole = np.arange(10, dtype=np.float32).reshape(2, 5)
    opened = session(pixels(), tmp_path)
    np.testing.assert_array_equal(opened.run((whole,))[0], opened.run((whole.astype(np.uint8),))[0])
    with pytest.raises(StageError, match=r"is uint8 in the model and float32 in the data, and 0\.5 does not"):
        opened.run((whole + 0.5,))


def test_whole_numbers_of_another_type_are_numbers_and_no_codes(tmp_path: Path) -> None:
    whole = np.arange(5, dtype=np.uint8)[None]
    opened = session(int8_model(), tmp_path)
    np.testing.assert_array_equal(opened.run((whole,))[0], opened.run((whole.astype(np.float32),))[0])


def test_inputs_and_outputs_come_in_the_order_of_the_model_that_the_file_was_made_of(tmp_path: Path) -> None:
    options = (8, schema.FullyConnectedOptionsT())
    tensors = [
        Tensor("p", (1, 5)),
        Tensor("q", (1, 5)),
        Tensor("w", WEIGHT.shape, FLOAT32, floats(WEIGHT)),
        Tensor("of_p", (1, 3)),
        Tensor("of_q", (1, 3)),
    ]
    operators = [
        Operator(FULLY_CONNECTED, (0, 2, -1), (3,), options=options),
        Operator(FULLY_CONNECTED, (1, 2, -1), (4,), options=options),
    ]
    content = write(Graph(tensors, operators, (1, 0), (4, 3), {"p": 0, "q": 1}, {"of_p": 3, "of_q": 4}))
    opened = session(content, tmp_path, called={"inputs": ["p", "q"], "outputs": ["of_p", "of_q"]})
    first, second = opened.run((SAMPLES, -SAMPLES))
    np.testing.assert_allclose(first, SAMPLES @ WEIGHT.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(first, -second)


WHOLE = np.random.default_rng(5).integers(-3, 4, (60, 5)).astype(np.int8)
BESIDE = """
model: {{tflite: {model}.tflite}}
candidate: {{tflite: int8.tflite}}
data: data.npz
thresholds:
  accuracy_drop: 0.2
  fidelity: 15
"""


@pytest.mark.parametrize("model", ["float", "int8"])
def test_a_candidate_is_given_what_its_original_is_given(tmp_path: Path, model: str) -> None:
    """The same whole numbers are pixels to the float file, and codes to an original that takes codes."""
    (tmp_path / "float.tflite").write_bytes(float_model())
    (tmp_path / "int8.tflite").write_bytes(int8_model())
    fed = WHOLE if model == "float" else np.rint(WHOLE / IN + 4).astype(np.int8)
    np.savez(tmp_path / "data.npz", x=fed, y=(WHOLE.astype(np.float32) @ WEIGHT.T).argmax(1))
    outcome = weigh(tmp_path, BESIDE.format(model=model))
    assert outcome.status is Status.PASS, outcome
    assert outcome.measurements["accuracy"].candidate > 0.8
