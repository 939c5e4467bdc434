"""Keras models of both generations and SavedModels: loaded, saved, converted with the same outputs."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras_bench import TEST, Bench

from weighbridge.case.scaffold import Subject
from weighbridge.contracts import CONVERTERS, FORMATS, Context, Model
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError, UsageError
from weighbridge.core.results import Artifact
from weighbridge.core.trust import TRUSTED
from weighbridge.formats.keras_inputs import generation
from weighbridge.formats.keras_model import named_weights, run_keras
from weighbridge.formats.suffixes import format_of
from weighbridge.run.census import take_census

KERAS = FORMATS.get("keras")


def to_tflite(model: Model, context: Context) -> Model:
    return CONVERTERS.get("keras->tflite").convert(model, context)


@pytest.mark.parametrize(
    ("name", "kind"), [("cnn", "keras"), ("cnn_tf_keras", "tf_keras"), ("residual", "keras")]
)
def test_a_callable_and_its_keras_file_are_the_same_model(
    bench: Bench, tmp_path: Path, name: str, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    model = bench.load(name)
    again = KERAS.open(KERAS.save(model, tmp_path, "saved"))
    assert generation(model.value) == generation(again.value) == kind
    assert take_census(again) == take_census(model)
    tflite = to_tflite(again, bench.context)
    expected = run_keras(model.value, (TEST[0],))[0]
    np.testing.assert_allclose(bench.run(tflite, (TEST[0],))[0], expected, atol=1e-4)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["cnn", "cnn_tf_keras"])
def test_a_saved_model_converts_with_and_without_layers(bench: Bench, tmp_path: Path, name: str) -> None:
    model, folder = bench.load(name), tmp_path / "exported"
    if name == "cnn":
        model.value.export(folder, verbose=False)
    else:
        model.value.save(folder, save_format="tf")
    read = KERAS.load("exported", None, tmp_path)
    assert generation(read.value) == (None if name == "cnn" else "tf_keras")
    assert take_census(read).parameters == take_census(model).parameters
    expected = run_keras(model.value, (TEST[0],))[0]
    np.testing.assert_allclose(bench.run(to_tflite(read, bench.context), (TEST[0],))[0], expected, atol=1e-4)
    copied = KERAS.open(KERAS.save(read, tmp_path, "copy"))
    assert take_census(copied).digest == take_census(read).digest


def test_a_saved_model_without_layers_cannot_be_pruned(bench: Bench, tmp_path: Path) -> None:
    bench.load("cnn").value.export(tmp_path / "exported", verbose=False)
    with pytest.raises(StageError, match="SavedModel without Keras layers has no layers to change"):
        bench.step("prune:low_magnitude", KERAS.load("exported", None, tmp_path))


@pytest.mark.parametrize("name", ["two", "two_tf_keras"])
@pytest.mark.parametrize("named", [False, True])
def test_inputs_and_outputs_keep_their_order(bench: Bench, name: str, named: bool) -> None:
    random = np.random.default_rng(0)
    zeta, alpha = random.random((9, 4), np.float32), random.random((9, 3), np.float32)
    inputs = {"alpha": alpha, "zeta": zeta} if named else (zeta, alpha)
    model = bench.load(name)
    context = Context(bench.folder, bench.folder, 0, Data(splits={"test": (inputs, None)}))
    outputs = bench.run(to_tflite(model, context), inputs)
    for have, want in zip(outputs, run_keras(model.value, (zeta, alpha)), strict=True):
        np.testing.assert_allclose(have, want, atol=1e-5)


@pytest.mark.parametrize("name", ["two_by_name", "two_by_name_tf_keras"])
def test_outputs_by_name_come_in_the_order_of_the_model(bench: Bench, name: str) -> None:
    inputs = (np.random.default_rng(0).random((9, 6), np.float32),)
    model = bench.load(name)
    context = Context(bench.folder, bench.folder, 0, Data(splits={"test": (inputs, None)}))
    by_name = model.value(inputs[0], training=False)
    zeta, alpha = bench.run(to_tflite(model, context), inputs)
    np.testing.assert_allclose(zeta, by_name["zeta"], atol=1e-5)
    np.testing.assert_allclose(alpha, by_name["alpha"], atol=1e-5)


def test_a_subclassed_model_is_converted_and_its_file_too(bench: Bench, tmp_path: Path) -> None:
    """Keras forgets what a subclassed model takes when it saves it; the samples tell."""
    model = bench.load("subclassed")
    model.value.save(tmp_path / "subclassed.keras")
    artifact = Artifact(
        "keras", tmp_path / "subclassed.keras", (tmp_path / "subclassed.keras",), {TRUSTED: True}
    )
    images = bench.context.data.sample(5)
    with keras.saving.custom_object_scope({"Subclassed": type(model.value)}):
        read = KERAS.open(artifact)
    for one in (model, read):
        (have,) = bench.run(to_tflite(one, bench.context), images)
        np.testing.assert_allclose(have, run_keras(model.value, images)[0], atol=1e-5)


def test_a_recurrent_layer_of_fixed_batch_forgets_the_sample_before(bench: Bench) -> None:
    sequences = (np.random.default_rng(0).random((7, 6, 5), np.float32),)
    context = Context(bench.folder, bench.folder, 0, Data(splits={"test": (sequences, None)}))
    model = bench.load("recurrent")
    tflite = to_tflite(model, context)
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in FORMATS.get("tflite").operators(tflite)
    for _ in range(2):
        np.testing.assert_allclose(
            bench.run(tflite, sequences)[0], run_keras(model.value, sequences)[0], atol=1e-5
        )


def test_a_recurrent_layer_that_cannot_be_converted_says_what_helps(bench: Bench) -> None:
    context = Context(bench.folder, bench.folder, 0, Data(shapes=((6, 5),)))
    with pytest.raises(StageError, match=r"failed: tf.TensorListReserve requires.*unroll=True.*batch_size=1"):
        to_tflite(bench.load("recurrent_free"), context)


def test_a_folder_is_a_saved_model_where_it_holds_one(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bench.load("cnn").value.export(tmp_path / "exported", verbose=False)
    assert format_of(Path("exported")) == "keras"
    subject = Subject("exported").seen_from(Path("cases/not-there-yet"))
    assert "keras: ../../exported" in subject.model_line()
    with pytest.raises(UsageError, match=r"a folder without saved_model\.pb is no model"):
        format_of(tmp_path)


def test_a_saved_model_says_what_it_takes(bench: Bench, tmp_path: Path) -> None:
    bench.load("alike").value.export(tmp_path / "exported", verbose=False)
    shapes, dtypes = KERAS.inputs(KERAS.load("exported", None, tmp_path))
    assert shapes == {"zeta": (4,), "alpha": (4,)}
    assert dtypes == {"zeta": "float32", "alpha": "float32"}


def test_a_file_that_computes_something_else_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weighbridge.convert import keras_to_tflite

    other, honest = bench.load("cnn"), keras_to_tflite.make_converter
    monkeypatch.setattr(keras_to_tflite, "make_converter", lambda model, samples: honest(other, samples))
    with pytest.raises(StageError, match=r"output 0 of the \.tflite differs from Keras's by up to"):
        to_tflite(bench.load("cnn_tf_keras"), bench.context)


def test_weights_are_set_by_name_and_must_fit(bench: Bench, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    source = bench.load("cnn_tf_keras")
    arrays = {name: variable.numpy() for name, variable in named_weights(source.value)}
    path = tmp_path / "weights.safetensors"
    save_file(arrays, path)
    loaded = KERAS.load("networks.py:cnn_tf_keras", path, bench.folder)
    for (_, have), (_, want) in zip(named_weights(loaded.value), named_weights(source.value), strict=True):
        np.testing.assert_array_equal(have.numpy(), want.numpy())
    first, *rest = arrays
    save_file({name: arrays[name] for name in rest}, path)
    with pytest.raises(StageError, match=rf"lacks \['{first}'\]"):
        KERAS.load("networks.py:cnn_tf_keras", path, bench.folder)
    save_file({**arrays, first: np.zeros((1, 2), np.float32)}, path)
    with pytest.raises(StageError, match=r"is \[1, 2\], the model wants"):
        KERAS.load("networks.py:cnn_tf_keras", path, bench.folder)


def test_code_in_a_model_file_is_not_run(tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(StageError, match="it holds a Lambda, which is code"):
        KERAS.load("lambda.keras", None, tmp_path)
    (tmp_path / "old.h5").write_bytes(b"")
    with pytest.raises(
        StageError, match=r"HDF5 files can hold pickled code.*save the model as a \.keras file"
    ):
        KERAS.load("old.h5", None, tmp_path)


@pytest.mark.parametrize(("reference", "reason"), [
    ("networks.py:unbuilt", "no weights yet: give it an Input layer, or call a subclassed one"),
    ("networks.py:NETWORKS", "no 'NETWORKS'"),
    ("absent.keras", "no file"),
    ("broken.keras", r"broken.keras cannot be read, it is truncated or no archive"),
    ("empty", "no SavedModel"),
])  # fmt: skip
def test_what_is_no_model_is_said(bench: Bench, reference: str, reason: str) -> None:
    (bench.folder / "broken.keras").write_bytes(b"PK not really")
    (bench.folder / "empty").mkdir(exist_ok=True)
    with pytest.raises(StageError, match=reason):
        KERAS.load(reference, None, bench.folder)
