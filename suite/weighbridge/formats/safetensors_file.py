"""safetensors: tensors without a graph. It can be weighed and counted; nothing can run it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weighbridge.contracts import FORMATS, Model, Quantization, StoredTensor
from weighbridge.core.codes import is_reduced_float, numpy_dtype
from weighbridge.core.errors import StageError
from weighbridge.core.results import Artifact
from weighbridge.formats.base import FormatBase
from weighbridge.formats.reduced_floats import reduced_float

# The format's own names -> numpy's or ml_dtypes'.
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
# How scales stand beside codes: as this package writes a quantized torch module, and as most others do.
_SCALES = ((".codes", ".scale", ".zero_point"), (".weight", ".weight_scale", ".weight_zero_point"))
_PALETTE = ".quant_map"
"""What bitsandbytes calls the values of a weight's 4-bit codes."""
MOST_PLACES = 1 << 24
"""Of a table of indices; words with codes in their highest bits hold larger numbers."""


class Safetensors(FormatBase):
    """A `.safetensors` file. `Model.value` maps each name to (dtype, array)."""

    name = "safetensors"
    suffixes: tuple[str, ...] = (".safetensors",)
    engine = "none"

    def load(self, reference: str, weights: Path | None, folder: Path) -> Model:
        if weights is not None:
            raise StageError("load", "a safetensors file holds its weights; remove `weights`")
        return self._read(folder / reference)

    def save(self, model: Model, folder: Path, stem: str) -> Artifact:
        raise StageError(
            "save", "a safetensors file is weighed as it is; a recipe needs the model that it belongs to"
        )

    def open(self, artifact: Artifact) -> Model:
        return self._read(artifact.path)

    def tensors(self, model: Model) -> Iterator[StoredTensor]:
        stored: Mapping[str, tuple[str, Any]] = model.value
        parameters = {name for base in stored for name in _beside(base, stored)}
        for name, (dtype, array) in stored.items():
            if name not in parameters:
                quantization = _quantization(name, dtype, array, stored)
                values = array.astype("float32") if is_reduced_float(dtype) else array
                layer, unread = name.rpartition(".")[0] or name, _packed(name, array, stored)
                yield StoredTensor(name, values, dtype, array.nbytes, quantization, layer, unread=unread)

    def operators(self, model: Model) -> Mapping[str, int]:
        return {}

    def inputs(self, model: Model) -> tuple[Mapping[str, tuple[int, ...]] | None, Mapping[str, str]]:
        return None, {}

    def _read(self, path: Path) -> Model:
        from safetensors import SafetensorError, deserialize

        if not path.is_file():
            raise StageError("load", f"no model file {path}")
        try:
            entries = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
        except SafetensorError as error:
            raise StageError(
                "load", f"{path} cannot be read, it is truncated or no safetensors file: {error}"
            ) from error
        return Model(self.name, {name: _array(name, entry, path) for name, entry in sorted(entries)})


def _array(name: str, entry: Mapping[str, Any], path: Path) -> tuple[str, Any]:
    import numpy as np

    if entry["dtype"] not in _DTYPES:
        raise StageError(
            "load", f"{path}: tensor '{name}' has the type {entry['dtype']}, which cannot be counted"
        )
    dtype = _DTYPES[entry["dtype"]]
    return dtype, np.frombuffer(entry["data"], dtype=numpy_dtype(dtype)).reshape(entry["shape"])


def _beside(name: str, stored: Mapping[str, Any]) -> dict[str, str]:
    """The names of the scale and the zero point that stand beside codes: {name in the file: its role}."""
    for end, scale, zero in _SCALES:
        base = name.removesuffix(end)
        if (
            base != name
            and f"{base}{scale}" in stored
            and stored[name][0] in ("int8", "uint8", "float8_e4m3fn")
        ):
            return {f"{base}{scale}": "scale", f"{base}{zero}": "zero_point", f"{base}.axis": "axis"}
    return {}


def _packed(name: str, array: Any, stored: Mapping[str, Any]) -> str:
    """Why these integers hold several codes each, as GPTQ and AWQ store them in words and bitsandbytes in bytes; else nothing."""
    import numpy as np

    if f"{name}{_PALETTE}" in stored:
        return f"two codes stand in each byte, of the values in '{name}{_PALETTE}'"
    words = array.dtype.kind in "iu" and sum(side > 1 for side in array.shape) > 1
    if words and np.max(np.abs(array.astype(np.float64))) > MOST_PLACES:
        return "its numbers are too large for indices, as of words that several codes are packed into; their graph would tell how"
    return ""


def _quantization(name: str, dtype: str, array: Any, stored: Mapping[str, Any]) -> Quantization | None:
    import numpy as np

    found = {role: stored[other][1] for other, role in _beside(name, stored).items() if other in stored}
    if "scale" in found:
        scale = np.squeeze(found["scale"].astype(np.float32))
        zero = np.squeeze(found["zero_point"]) if "zero_point" in found else np.zeros(scale.shape, np.int32)
        axis = None
        if scale.ndim:
            fitting = [axis for axis, size in enumerate(array.shape) if size == scale.size]
            if scale.ndim > 1 or not fitting:
                raise StageError(
                    "load",
                    f"the scales of '{name}', shape {scale.shape}, do not fit its shape {array.shape}",
                )
            axis = int(found["axis"]) if "axis" in found else fitting[0]
        return Quantization(8, scale, zero, axis, scheme="affine" if dtype in ("int8", "uint8") else dtype)
    return reduced_float(dtype, 8 * array.itemsize) if is_reduced_float(dtype) else None


FORMATS.add(Safetensors.name, Safetensors())
