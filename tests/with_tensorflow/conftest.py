"""Run with `make test-tensorflow`: TensorFlow stands in an environment of its own."""

from __future__ import annotations

import pytest
from keras_bench import CALIBRATION, TEST, TRAIN, Bench

from weighbridge.contracts import Model
from weighbridge.core.data import Data
from weighbridge.environment.extras import TENSORFLOW, TF_KERAS, TFMOT
from weighbridge.environment.requirements import missing

collect_ignore_glob = ["test_*.py"] if missing(TENSORFLOW, TF_KERAS, TFMOT) else []


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    splits = {"train": TRAIN, "calibration": CALIBRATION, "test": TEST}
    return Bench(tmp_path_factory.mktemp("networks"), Data(splits=splits))


@pytest.fixture(scope="session")
def trained(bench: Bench) -> Model:
    """The tf_keras CNN after a few epochs."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    model = bench.load("cnn_tf_keras")
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.value.compile("adam", loss)
    model.value.fit(*TRAIN, epochs=4, batch_size=32, verbose=0)
    return model
