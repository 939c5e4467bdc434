"""Keras archives and SavedModels made to run code, against real Keras and TensorFlow: looked at first, and refused."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_bench import TEST, Bench

from weighbridge.contracts import FORMATS, Model
from weighbridge.core.errors import StageError
from weighbridge.core.trust import trusting
from weighbridge.formats.keras_model import run_keras
from weighbridge.formats.saved_model import check_saved_model

KERAS = FORMATS.get("keras")


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


def with_code(library: str, name: str, **options: Any) -> Callable[[Path, Path], str]:
    """A network with a Lambda that writes the mark when it is called."""

    def make(folder: Path, mark: Path) -> str:
        of, written = __import__(library), str(mark)
        code = of.layers.Lambda(lambda x: [__import__("pathlib").Path(written).touch(), x][1])
        of.Sequential([of.layers.Input((4,)), code]).save(folder / name, **options)
        mark.unlink(missing_ok=True)
        return name

    return make


def graph(compute: Callable[[Any], Any]) -> Callable[[Path, Path], str]:
    """A SavedModel that computes this when it is called."""

    def make(folder: Path, mark: Path) -> str:
        import tensorflow as tf

        class Net(tf.Module):
            def __init__(self) -> None:
                self.weight = tf.Variable(np.ones((4, 2), np.float32))

            @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
            def __call__(self, x):
                return compute(str(mark)) + x @ self.weight

        net = Net()
        tf.saved_model.save(net, str(folder / "net"), signatures=net.__call__)
        return "net"

    return make


def write_file(mark: str) -> Any:
    import tensorflow as tf

    tf.io.write_file(mark, "")
    return 0.0


def read_file(mark: str) -> Any:
    import tensorflow as tf

    return tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float32)


def write_checkpoint(mark: str) -> Any:
    import tensorflow as tf

    tf.raw_ops.SaveV2(prefix=mark, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.zeros(1)])
    return 0.0


def print_into(mark: str) -> Any:
    import tensorflow as tf

    tf.print("x", output_stream=f"file://{mark}")
    return 0.0


def call_python(mark: str) -> Any:
    import tensorflow as tf

    return tf.reduce_sum(tf.py_function(lambda: np.float32(0), [], tf.float32))


def map_file(mark: str) -> Any:
    import tensorflow as tf

    return tf.cast(
        tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=[1], memory_region_name="/etc/passwd")[0], tf.float32
    )


def lines_of(mark: str) -> Any:
    import tensorflow as tf

    return tf.cast(
        tf.data.TextLineDataset("/etc/passwd").reduce(np.int64(0), lambda count, line: count + 1), tf.float32
    )


REFUSED = {
    "a Lambda in an archive": (with_code("keras", "net.keras"), "a Lambda, which is code"),
    "a Lambda of Keras 2": (with_code("tf_keras", "net.keras"), "a Lambda, which is code"),
    "a Lambda in a SavedModel": (with_code("tf_keras", "net", save_format="tf"), "a Lambda, which is code"),
    "a file written": (graph(write_file), "the operator WriteFile"),
    "a file read": (graph(read_file), "the operator ReadFile"),
    "a checkpoint written": (graph(write_checkpoint), "the operator SaveV2"),
    "a message into a file": (graph(print_into), "the operator PrintV2"),
    "Python called": (graph(call_python), "the operator EagerPyFunc"),
    "a file as memory": (graph(map_file), "the operator ImmutableConst"),
    "the lines of a file": (graph(lines_of), "the operator .*Dataset"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_run_code_is_refused(tmp_path: Path, mark: Path, name: str) -> None:
    make, sentence = REFUSED[name]
    reference = make(tmp_path, mark)
    with pytest.raises(StageError, match=rf"is not opened: .*{sentence}.*`trust: {{"):
        KERAS.load(reference, None, tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["a Lambda in an archive", "a Lambda of Keras 2", "a file written"])
def test_trusted_it_runs(tmp_path: Path, mark: Path, name: str) -> None:
    reference = REFUSED[name][0](tmp_path, mark)
    with pytest.raises(StageError) as refused:
        KERAS.load(reference, None, tmp_path)
    ((file, digest),) = re.findall(r"`trust: \{(\S+): '?([0-9a-f]{64})'?\}`", str(refused.value))
    with trusting({file: digest}):
        model = KERAS.load(reference, None, tmp_path)
    run_keras(model.value, (TEST[0][:1].reshape(1, -1)[:, :4],))
    assert mark.exists()


def test_code_that_the_user_wrote_is_opened_again(tmp_path: Path, mark: Path) -> None:
    """Of a callable with a Lambda, what a step leaves is written and read by Weighbridge itself."""
    import keras

    layers = [keras.layers.Input((4,)), keras.layers.Lambda(lambda x: x * 2)]
    saved = KERAS.save(Model("keras", keras.Sequential(layers)), tmp_path, "net")
    (answer,) = run_keras(KERAS.open(saved).value, (np.ones((1, 4), np.float32),))
    assert answer.tolist() == [[2, 2, 2, 2]]


def rewritten(path: Path, entry: str, change: Callable[[bytes], bytes]) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries[entry] = change(entries[entry])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def weights(change: Callable[[Any, Path], None]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        import h5py

        own = path.with_name("own.h5")

        def edited(raw: bytes) -> bytes:
            own.write_bytes(raw)
            with h5py.File(own, "a") as file:
                change(file, path)
            return own.read_bytes()

        rewritten(path, "model.weights.h5", edited)

    return make


def _first(file: Any) -> Any:
    import h5py

    found = []
    file.visititems(lambda name, held: found.append(name) if isinstance(held, h5py.Dataset) else None)
    return found[0]


def linked(file: Any, path: Path) -> None:
    import h5py

    name = _first(file)
    del file[name]
    file[name] = h5py.ExternalLink("/etc/passwd", "x")


def outside(file: Any, path: Path) -> None:
    name = _first(file)
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, "u1", external=[("/etc/passwd", 0, 1 << 20)])


def endless(file: Any, path: Path) -> None:
    name = _first(file)
    del file[name]
    file.create_dataset(name, (1 << 40,), "f4", chunks=(1 << 10,))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [(linked, "are a link"), (outside, "stand in another file"), (endless, "claim to be 4,398,")],
)
def test_weights_that_lead_elsewhere(bench: Bench, tmp_path: Path, change: Any, sentence: str) -> None:
    KERAS.save(bench.load("cnn"), tmp_path, "net")
    weights(change)(tmp_path / "net.keras")
    with pytest.raises(StageError, match=sentence):
        KERAS.load("net.keras", None, tmp_path)


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ({"class_name": "StringLookup", "module": "keras.layers", "config": {"vocabulary": "/etc/passwd"}}, "vocabulary"),
        ({"class_name": "function", "module": "keras.config", "config": "enable_unsafe_deserialization"}, "keras.config"),
        ({"class_name": "function", "module": "keras.utils", "config": "get_file"}, "keras.utils"),
        ({"class_name": "exec", "module": "builtins", "config": {}}, "builtins"),
        ({"class_name": "system", "module": "os", "config": {}}, "imported from os"),
    ],
)  # fmt: skip
def test_parts_that_are_none_of_a_model(bench: Bench, tmp_path: Path, layer: Any, sentence: str) -> None:
    KERAS.save(bench.load("cnn"), tmp_path, "net")

    def planted(raw: bytes) -> bytes:
        configuration = json.loads(raw)
        configuration["config"]["layers"].append(layer)
        return json.dumps(configuration).encode()

    rewritten(tmp_path / "net.keras", "config.json", planted)
    with pytest.raises(StageError, match=sentence):
        KERAS.load("net.keras", None, tmp_path)


LAYERS: dict[str, Callable[[Any], list[Any]]] = {
    "dense": lambda of: [of.layers.Dense(3, activation="gelu", kernel_regularizer="l2", kernel_constraint="max_norm")],
    "convolution": lambda of: [
        of.layers.Reshape((2, 2, 1)), of.layers.Conv2D(3, 2, kernel_initializer=of.initializers.HeNormal(1)),
        of.layers.BatchNormalization(), of.layers.ReLU(), of.layers.GlobalAveragePooling2D(),
    ],
    "recurrent": lambda of: [of.layers.Reshape((4, 1)), of.layers.Bidirectional(of.layers.LSTM(2)), of.layers.Dropout(0.1)],
    "attention": lambda of: [of.layers.Reshape((4, 1)), of.layers.Conv1D(2, 2), of.layers.LayerNormalization()],
    "noise": lambda of: [of.layers.GaussianNoise(0.1), of.layers.Activation("softmax"), of.layers.LeakyReLU()],
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_right_models_are_opened(tmp_path: Path, library: str, name: str) -> None:
    """As an archive, compiled, and as a SavedModel."""
    of = __import__(library)
    net = of.Sequential([of.layers.Input((4,)), *LAYERS[name](of)])
    net.compile("adam", of.losses.MeanSquaredError(), metrics=["mae"])
    net.save(tmp_path / "net.keras")
    assert KERAS.load("net.keras", None, tmp_path).value.built
    if library == "keras":
        net.export(tmp_path / "net", verbose=False)
    else:
        net.save(tmp_path / "net", save_format="tf")
    check_saved_model(tmp_path / "net")


def test_a_functional_network_of_operations_is_opened(tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((4,))
    hidden = keras.ops.relu(keras.layers.Dense(4)(inputs) + inputs) * 2
    keras.Model(inputs, keras.ops.concatenate([hidden, inputs])).save(tmp_path / "net.keras")
    assert KERAS.load("net.keras", None, tmp_path).value.built


def test_a_damaged_saved_model_is_one_sentence(tmp_path: Path) -> None:
    graph(read_file)(tmp_path, tmp_path / "mark")
    path = tmp_path / "net" / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StageError, match=r"truncated|not opened"):
        KERAS.load("net", None, tmp_path)
