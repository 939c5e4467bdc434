"""What a Keras model or a SavedModel takes and gives, by name and in its own order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weighbridge.environment.quiet import quiet
from weighbridge.formats import tf_runtime

if TYPE_CHECKING:
    from weighbridge.contracts import Array, Inputs


def generation(model: Any) -> str | None:
    """`keras` (Keras 3), `tf_keras`, or None for anything else; imports neither."""
    bases = {(base.__module__.partition(".")[0], base.__name__) for base in type(model).__mro__}
    return next((name for name in ("tf_keras", "keras") if (name, "Model") in bases), None)


def serving(root: Any) -> Any:
    """The signature of a SavedModel that is run."""
    return root.signatures.get("serving_default") or next(iter(root.signatures.values()))


def declared(model: Any) -> dict[str, tuple[tuple[int | None, ...] | None, str]]:
    """Name -> shape with the batch axis (None where even the rank is open) and dtype of each input, in the model's order.

    Nothing of a subclassed model, which takes what it is given.
    """
    if generation(model) is None:
        specs = serving(model).structured_input_signature[1]
        return {name: (_sizes(spec.shape), spec.dtype.name) for name, spec in specs.items()}
    tensors = getattr(model, "inputs", None) or []
    names = getattr(model, "input_names", None) or [tensor.name for tensor in tensors]
    return {
        name: (_sizes(tensor.shape), getattr(tensor.dtype, "name", tensor.dtype))
        for name, tensor in zip(names, tensors, strict=True)
    }


def input_names(model: Any) -> list[str]:
    return list(declared(model))


def output_names(model: Any) -> list[str]:
    """As the signature of an export has them; empty where they are numbered there, or there is one."""
    if generation(model) is None:
        return sorted(serving(model).structured_outputs)
    given = getattr(model, "output", None)
    if generation(model) == "tf_keras":
        # By the layers' names; those of a mapping stand in the order of its keys.
        names = list(model.output_names)
        if not isinstance(given, Mapping):
            return names
        by_key = dict(zip(sorted(given), names, strict=True))
        return [by_key[key] for key in given]
    return list(given) if isinstance(given, Mapping) else []


def with_inputs(model: Any, samples: Inputs) -> Any:
    """A subclassed model behind inputs of the samples' names, shapes and types, so that it can be exported.

    Any other is given back as it is.
    """
    kind = generation(model)
    if kind is None or declared(model):
        return model
    library = tf_runtime.tf_keras() if kind == "tf_keras" else tf_runtime.keras()

    def port(array: Array, name: str) -> Any:
        dtype = "float32" if array.dtype.kind == "f" else str(array.dtype)
        return library.Input(array.shape[1:], dtype=dtype, name=name)

    with quiet():
        ports: Any = (
            {name: port(array, name) for name, array in samples.items()}
            if isinstance(samples, dict)
            else [port(array, f"args_{index}") for index, array in enumerate(samples)]
        )
        fed = ports[0] if isinstance(ports, list) and len(ports) == 1 else ports
        return library.Model(ports, model(fed, training=False))


def _sizes(shape: Any) -> tuple[int | None, ...] | None:
    return None if getattr(shape, "rank", 0) is None else tuple(shape)
