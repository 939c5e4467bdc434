"""Keras models of both generations, and SavedModels: a callable, a `.keras` file, or a folder."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weighbridge.contracts import FORMATS, Model, Requirement, StoredTensor
from weighbridge.core.errors import StageError, did_you_mean
from weighbridge.core.references import call
from weighbridge.core.results import Artifact
from weighbridge.core.trust import TRUSTED, is_trusted
from weighbridge.environment.extras import TENSORFLOW, TF_KERAS
from weighbridge.environment.quiet import quiet
from weighbridge.formats import tf_runtime
from weighbridge.formats.base import FormatBase
from weighbridge.formats.keras_archive import check_keras, keras_generation
from weighbridge.formats.keras_inputs import declared, generation, serving
from weighbridge.formats.saved_model import check_saved_model

SAVED_MODEL = "saved_model"
"""The key of `Model.source` that holds the folder of a SavedModel without Keras layers."""


class KerasModel(FormatBase):
    """`Model.value` is a Keras 3 or a tf_keras model, or a SavedModel's root where the folder has no
    layers.
    """

    name = "keras"
    suffixes: tuple[str, ...] = (".keras",)
    marker = "saved_model.pb"
    engine = "litert"
    requires: tuple[Requirement, ...] = (TENSORFLOW, TF_KERAS)
    declares_inputs = True

    def load(self, reference: str, weights: Path | None, folder: Path) -> Model:
        """Raises `StageError` where there is no model, it is not built yet, or `weights` do not fit."""
        path = folder / reference
        if path.is_dir() or path.suffix == ".keras":
            if not path.exists():
                siblings = (
                    [entry.name for entry in path.parent.glob("*.keras")] if path.parent.is_dir() else []
                )
                raise StageError("load", f"no file {path}{did_you_mean(path.name, siblings)}")
            model = self._read(path)
        elif path.suffix in (".h5", ".hdf5"):
            raise StageError("load", f"{path.name}: HDF5 files can hold pickled code, which is not run; "
                                     "save the model as a .keras file")  # fmt: skip
        else:
            tf_runtime.restart_names()
            with quiet():
                built = call(reference, folder)
            if generation(built) is None:
                raise StageError("load", f"{reference}() gave a {type(built).__name__}, not a Keras model")
            model = Model(self.name, built)
        if generation(model.value) is not None and not model.value.built:
            raise StageError("load", f"{reference}: the model has no weights yet: give it an Input layer, or "
                                     "call a subclassed one on an array of zeros once before it is given")  # fmt: skip
        if weights is not None:
            _load_weights(model.value, weights)
        return model

    def save(self, model: Model, folder: Path, stem: str) -> Artifact:
        if SAVED_MODEL in model.source:
            path = folder / stem
            shutil.copytree(model.source[SAVED_MODEL], path)
            return Artifact(self.name, path, _files(path))
        path = folder / f"{stem}.keras"
        with quiet():
            model.value.save(path)
        return Artifact(self.name, path, (path,), {TRUSTED: True})

    def open(self, artifact: Artifact) -> Model:
        return self._read(artifact.path, trusted=TRUSTED in artifact.source)

    def tensors(self, model: Model) -> Iterator[StoredTensor]:
        for name, value in named_weights(model.value):
            array = value.numpy()
            layer = name.rpartition("/")[0]
            yield StoredTensor(name, array, str(array.dtype), array.nbytes, None, layer)

    def operators(self, model: Model) -> Mapping[str, int]:
        return dict(Counter(type(layer).__name__ for _, layer in walk(model.value)))

    def inputs(self, model: Model) -> tuple[Mapping[str, tuple[int, ...]] | None, Mapping[str, str]]:
        """No shapes where an inner size is open, nothing of a subclassed model."""
        found = declared(model.value)
        shapes = {name: (shape or (None, None))[1:] for name, (shape, _) in found.items()}
        dtypes = {name: dtype for name, (_, dtype) in found.items()}
        known: dict[str, tuple[int, ...]] = {
            name: tuple(size for size in shape if size is not None) for name, shape in shapes.items()
        }
        return (known if known and known == shapes else None), dtypes

    def recipes(self, data: bool) -> tuple[tuple[str, ...], ...]:
        modes = (*(("full_integer",) if data else ()), "dynamic_range", "float16")
        return tuple(("quantize: tflite", f"mode: {mode}") for mode in modes)

    def _read(self, path: Path, trusted: bool = False) -> Model:
        """What Weighbridge has written is `trusted`: its code is that of the user's callable, or was trusted before."""
        if path.is_dir():
            return _read_saved_model(path)
        safe = not (trusted or is_trusted(path))
        if safe:
            check_keras(path)
        library = tf_runtime.tf_keras() if keras_generation(path) < 3 else tf_runtime.keras()
        try:
            with quiet():
                return Model(self.name, library.models.load_model(path, compile=False, safe_mode=safe))
        except (ValueError, TypeError, OSError, KeyError) as error:
            raise StageError("load", f"{path.name} cannot be read: {error}") from error


def walk(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(path, layer) of every layer without layers of its own, in the model's order."""
    for layer in getattr(model, "layers", ()):
        path = f"{prefix}{layer.name}"
        if getattr(layer, "layers", None):
            yield from walk(layer, f"{path}/")
        else:
            yield path, layer


def named_weights(model: Any) -> list[tuple[str, Any]]:
    """Every variable as `layer/name`: tfmot's stripped models lose the layer in the variable's own name."""
    if generation(model) is None:
        variables = {
            id(variable): variable
            for signature in model.signatures.values()
            for variable in signature.variables
        }
        return [(variable.name.removesuffix(":0"), variable) for variable in variables.values()]
    found, seen = [], set()
    for path, layer in walk(model):
        for variable in layer.weights:
            if id(variable) not in seen:
                seen.add(id(variable))
                found.append((f"{path}/{variable.name.removesuffix(':0').rpartition('/')[2]}", variable))
    return found


def run_keras(model: Any, inputs: Any) -> tuple[Any, ...]:
    """The outputs in inference mode, as numpy arrays in the model's order; a SavedModel's in order of their
    names.
    """
    import numpy as np

    with quiet():
        if generation(model) is None:
            outputs = _run_signature(model, inputs)
        else:
            fed = inputs if isinstance(inputs, dict) else inputs[0] if len(inputs) == 1 else list(inputs)
            outputs = model(fed, training=False)
    if isinstance(outputs, dict):
        outputs = [outputs[name] for name in (sorted(outputs) if generation(model) is None else outputs)]
    return tuple(np.asarray(each) for each in (outputs if isinstance(outputs, list | tuple) else [outputs]))


def _run_signature(root: Any, inputs: Any) -> Any:
    signature = serving(root)
    names = list(signature.structured_input_signature[1])
    if not isinstance(inputs, dict):
        if len(inputs) != 1 or len(names) != 1:
            raise StageError("run", f"give the SavedModel's inputs by name: {', '.join(names)}")
        inputs = {names[0]: inputs[0]}
    tensor = tf_runtime.tensorflow().constant
    return signature(**{name: tensor(array) for name, array in inputs.items()})


def _read_saved_model(path: Path) -> Model:
    """With Keras 2's metadata its layers come back; any other SavedModel is a graph with variables."""
    if not (path / "saved_model.pb").is_file():
        raise StageError("load", f"{path} is no SavedModel: it has no saved_model.pb")
    check_saved_model(path)
    try:
        if (path / "keras_metadata.pb").is_file():
            with quiet():
                return Model("keras", tf_runtime.tf_keras().models.load_model(path, compile=False))
        with quiet():
            root = tf_runtime.tensorflow().saved_model.load(str(path))
    except (ValueError, OSError, RuntimeError) as error:
        raise StageError("load", f"{path.name} cannot be read: {error}") from error
    if not root.signatures:
        raise StageError("load", f"{path.name} has no signature, so it is not known what to call")
    return Model("keras", root, {SAVED_MODEL: str(path)})


def _load_weights(model: Any, path: Path) -> None:
    """Set every variable from a safetensors file whose names are `layer/variable`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if path.suffix != ".safetensors":
        raise StageError("load", f"{path.name}: the weights of a Keras model are read from .safetensors")
    if not path.is_file():
        raise StageError("load", f"no weights file {path}")
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise StageError("load", f"{path} cannot be read: {error}") from error
    variables = dict(named_weights(model))
    if set(arrays) != set(variables):
        lacking, extra = sorted(set(variables) - set(arrays)), sorted(set(arrays) - set(variables))
        raise StageError(
            "load", f"{path.name} does not fit the model: it lacks {lacking[:5]} and has {extra[:5]} besides"
        )
    for name, variable in variables.items():
        if tuple(variable.shape) != arrays[name].shape:
            raise StageError("load", f"{path.name}: '{name}' is {list(arrays[name].shape)}, the model wants "
                                     f"{list(variable.shape)}")  # fmt: skip
        variable.assign(arrays[name])


def _files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in folder.rglob("*") if path.is_file()))


FORMATS.add(KerasModel.name, KerasModel())
