"""A Keras 3 model rebuilt in tf_keras (Keras 2), which is what tfmot can prune, cluster and train quantized.

Layers are rebuilt from their configurations and the weights copied; the outputs are then compared on real
samples, so that a layer whose meaning changed between the generations is refused and not guessed at.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from weighbridge.core.errors import StageError
from weighbridge.environment.quiet import quiet
from weighbridge.formats import tf_runtime
from weighbridge.formats.keras_inputs import generation
from weighbridge.formats.keras_model import run_keras

if TYPE_CHECKING:
    from weighbridge.contracts import Inputs

_TOLERANCE = 1e-4
_BASE_KEYS = ("name", "trainable")


def to_tf_keras(model: Any, samples: Inputs, stage: str) -> Any:
    """A tf_keras model with weights of its own that computes what `model` computes.

    A tf_keras model is cloned. Raises `StageError` with the reason where the model cannot be carried over.
    """
    import numpy as np

    kind = generation(model)
    if kind is None:
        raise StageError(
            stage, "a SavedModel without Keras layers has no layers to change; give the Keras model itself"
        )
    library = tf_runtime.tf_keras()
    if kind == "tf_keras":
        try:
            with quiet():
                copy = library.models.clone_model(model)
                copy.set_weights(model.get_weights())
        except ValueError as error:
            raise StageError(
                stage, f"tfmot changes Sequential and functional models only: {error}"
            ) from error
        return copy
    with quiet():
        copy = _rebuild(model, library, stage)
    for have, want in zip(run_keras(copy, samples), run_keras(model, samples), strict=True):
        worst, scale = float(np.max(np.abs(have - want))), float(np.max(np.abs(want)))
        if not worst <= _TOLERANCE * max(scale, 1e-6):
            raise StageError(
                stage,
                "the Keras 3 model computes something else in tf_keras "
                f"(off by {worst:.3g} of {scale:.3g}); build it with tf_keras",
            )
    return copy


def _rebuild(model: Any, library: Any, stage: str) -> Any:
    config = model.get_config()
    if "layers" not in config:
        raise StageError(
            stage,
            "the model is a subclass of keras.Model, whose layers cannot be followed; "
            "tfmot changes Sequential and functional models only",
        )
    layers = {layer.name: layer for layer in model.layers}
    if type(model).__name__ == "Sequential":
        copy = library.Sequential(
            [
                _layer(entry, layers.get(entry["config"]["name"]), library, stage)
                for entry in config["layers"]
            ],
            name=model.name,
        )
    else:
        copy = _functional(model, config, layers, library, stage)
    for old, new in zip(_weighted(model), _weighted(copy), strict=True):
        new.set_weights(old.get_weights())
    return copy


def _functional(model: Any, config: Any, layers: Any, library: Any, stage: str) -> Any:
    """Call the rebuilt layers along the recorded nodes until every one has been called."""
    rebuilt = {
        entry["name"]: _layer(entry, layers.get(entry["name"]), library, stage) for entry in config["layers"]
    }
    values: dict[tuple[str, int, int], Any] = {}
    waiting = []
    for entry in config["layers"]:
        if entry["class_name"] == "InputLayer":
            values[(entry["name"], 0, 0)] = rebuilt[entry["name"]].output
        waiting += [(entry["name"], index, node) for index, node in enumerate(entry["inbound_nodes"])]
    while waiting:
        left = []
        for name, index, node in waiting:
            arguments, ready = _resolve(node["args"], values)
            options, ready_too = _resolve(node["kwargs"], values)
            if not ready or not ready_too:
                left.append((name, index, node))
                continue
            outputs = rebuilt[name](
                *arguments, **{key: value for key, value in options.items() if value is not None}
            )
            for position, output in enumerate(outputs if isinstance(outputs, list | tuple) else [outputs]):
                values[(name, index, position)] = output
        if len(left) == len(waiting):
            raise StageError(stage, f"the graph around '{left[0][0]}' cannot be followed into tf_keras")
        waiting = left
    return library.Model(
        _ends(config["input_layers"], values), _ends(config["output_layers"], values), name=model.name
    )


def _layer(entry: Any, original: Any, library: Any, stage: str) -> Any:
    """The tf_keras layer of the same name, from the keys of the configuration that it knows."""
    kind, config = entry["class_name"], entry["config"]
    if original is not None and generation(original) is not None:
        return _rebuild(original, library, stage)
    if kind == "InputLayer":
        return library.layers.InputLayer(
            batch_input_shape=tuple(config["batch_shape"]), dtype=config["dtype"], name=config["name"]
        )
    known = getattr(library.layers, kind, None)
    if known is None or entry["module"] != "keras.layers":
        raise StageError(
            stage, f"tf_keras has no layer '{kind}' ({config.get('name')}); build the model with tf_keras"
        )
    accepted = {*inspect.signature(known.__init__).parameters, *_BASE_KEYS}
    # Initializers say how weights began; they are copied.
    kept = {
        key: value for key, value in config.items() if key in accepted and not key.endswith("_initializer")
    }
    kept.pop("dtype", None)
    return known.from_config(kept)


def _resolve(value: Any, values: Any) -> tuple[Any, bool]:
    """`value` with the graph's tensors put in, and whether all of them exist yet."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        key = tuple(value["config"]["keras_history"])
        return values.get(key), key in values
    if isinstance(value, dict):
        items = {key: _resolve(item, values) for key, item in value.items()}
        return {key: item for key, (item, _) in items.items()}, all(ready for _, ready in items.values())
    if isinstance(value, list | tuple):
        parts = [_resolve(item, values) for item in value]
        return [item for item, _ in parts], all(ready for _, ready in parts)
    return value, True


def _ends(places: Any, values: Any) -> Any:
    """The tensors at `[layer, node, position]`, one or several, or several by name."""
    if isinstance(places, dict):
        return {name: _ends(place, values) for name, place in places.items()}
    if places and isinstance(places[0], str):
        return values[tuple(places)]
    return [values[tuple(place)] for place in places]


def _weighted(model: Any) -> list[Any]:
    return [layer for layer in model.layers if layer.weights]
