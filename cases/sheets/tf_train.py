"""Train the Dense network of tf_model.py: `python tf_train.py`, 10 s."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from safetensors.numpy import save_file
from tf_model import dense, digits

keras.utils.set_random_seed(0)
model = dense()
images, labels = digits()["train"]
model.compile(
    optimizer=keras.optimizers.Adam(2e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
model.fit(images, labels, epochs=30, batch_size=32, verbose=0)
weights = {
    f"{layer.name}/{weight.name}": np.asarray(weight) for layer in model.layers for weight in layer.weights
}
save_file(weights, Path(__file__).parent / "tf_dense.safetensors")
images, labels = digits()["test"]
print(f"{float((model.predict(images, verbose=0).argmax(1) == labels).mean()):.4f} on the test split")
