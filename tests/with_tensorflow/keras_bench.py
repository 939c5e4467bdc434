"""Small networks, data they learn in a few steps, and the steps applied as the pipeline applies them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.contracts import ENGINES, FORMATS, STEPS, Context, Model
from weighbridge.core.data import Data
from weighbridge.run.census import check_changed, take_census

NETWORKS = """
import keras, tf_keras

def cnn(library=keras):
    layers = library.layers
    return library.Sequential([
        library.Input((8, 8, 4)),
        layers.Conv2D(16, 3, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dropout(0.1),
        layers.Dense(4),
    ])

def cnn_tf_keras():
    return cnn(tf_keras)

def residual():
    image = keras.Input((8, 8, 4), name="image")
    hidden = keras.layers.Conv2D(8, 3, padding="same")(image)
    hidden = keras.layers.BatchNormalization()(hidden)
    sum_ = keras.layers.Add()([hidden, keras.layers.Conv2D(8, 1, activation="relu")(hidden)])
    return keras.Model(image, keras.layers.Dense(4, activation="softmax")(keras.layers.GlobalAveragePooling2D()(sum_)))

def two(library=keras):
    left, right = library.Input((4,), name="zeta"), library.Input((3,), name="alpha")
    first = library.layers.Dense(3, name="z_out")(left)
    return library.Model([left, right], [first, library.layers.Dense(2, name="a_out")(right)])

def two_tf_keras():
    return two(tf_keras)

def two_by_name(library=keras):
    # Outputs of one shape, in another order than the alphabet's and the converter's.
    image = library.Input((6,), name="image")
    return library.Model(image, {"zeta": library.layers.Dense(3, name="first")(image), "alpha": library.layers.Dense(3)(image)})

def two_by_name_tf_keras():
    return two_by_name(tf_keras)

def alike():
    left, right = keras.Input((4,), name="zeta"), keras.Input((4,), name="alpha")
    hidden = keras.layers.Concatenate()([keras.layers.Dense(32)(left), keras.layers.Dense(32, activation="relu")(right)])
    return keras.Model([left, right], keras.layers.Dense(32)(hidden))

def recurrent(library=tf_keras, batch_size=1):
    return library.Sequential([library.Input((6, 5), batch_size=batch_size), library.layers.LSTM(8), library.layers.Dense(4)])

def recurrent_free():
    return recurrent(keras, None)

def scaled():
    return keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Rescaling(2.0), keras.layers.Flatten(), keras.layers.Dense(4)])

def unbuilt():
    return keras.Sequential([keras.layers.Dense(3)])

class Subclassed(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.dense = keras.layers.Dense(4)
        self.flatten = keras.layers.Flatten()

    def call(self, inputs):
        return self.dense(self.flatten(inputs))

def subclassed():
    model = Subclassed()
    model(keras.ops.zeros((1, 8, 8, 4)))
    return model

def unknown_layer():
    layers = keras.layers
    return keras.Sequential([keras.Input((8, 8, 4)), layers.RMSNormalization(), layers.Flatten(), layers.Dense(4)])
"""


def _images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four classes of noisy stripes: learnt in a few steps."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    images = random.normal(0, 0.3, (count, 8, 8, 4))
    images[np.arange(count), labels * 2] += 1
    return images.astype(np.float32), labels


TRAIN, CALIBRATION, TEST = _images(256, 0), _images(64, 1), _images(128, 2)


class Bench:
    """The networks, the data, and each step's evidence checked as the pipeline does."""

    def __init__(self, folder: Path, data: Data) -> None:
        (folder / "networks.py").write_text(NETWORKS)
        self.context = Context(folder, folder, 0, data)
        self.folder = folder

    def load(self, name: str) -> Model:
        return FORMATS.get("keras").load(f"networks.py:{name}", None, self.folder)

    def step(self, key: str, model: Model, **options: Any) -> Model:
        step = STEPS.get(key)
        result = step.apply(model, step.options(**options), self.context)
        check_changed(step, take_census(model), take_census(result))
        return result

    def run(self, tflite: Model, inputs: Any) -> tuple[np.ndarray, ...]:
        engine = ENGINES.get("litert")
        artifact = FORMATS.get("tflite").save(tflite, self.folder, "run")
        return engine.open(artifact, engine.options()).run(inputs)


def accuracy(outputs: np.ndarray) -> float:
    return float((outputs.argmax(1) == TEST[1]).mean())
