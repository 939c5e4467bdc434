"""TFLite: a `.tflite` flatbuffer, held as bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from weighbridge.contracts import FORMATS, Model, Port, Requirement, StoredTensor
from weighbridge.core.errors import StageError, did_you_mean
from weighbridge.core.results import Artifact
from weighbridge.environment.extras import LITERT
from weighbridge.formats.base import FormatBase
from weighbridge.formats.tflite_calls import called_as
from weighbridge.formats.tflite_file import TFLiteFile


class TFLite(FormatBase):
    """The format of LiteRT. `Model.value` is the file's bytes."""

    name = "tflite"
    suffixes: tuple[str, ...] = (".tflite",)
    engine = "litert"
    requires: tuple[Requirement, ...] = (LITERT,)
    declares_inputs = True

    def load(self, reference: str, weights: Path | None, folder: Path) -> Model:
        """Read a finished file; raises `StageError` where there is none, or it is damaged."""
        if weights is not None:
            raise StageError("load", "a .tflite file holds its weights; remove `weights`")
        path = folder / reference
        if not path.is_file():
            siblings = [entry.name for entry in path.parent.glob("*.tflite")] if path.parent.is_dir() else []
            raise StageError("load", f"no file {path}{did_you_mean(path.name, siblings)}")
        return self._read(path)

    def save(self, model: Model, folder: Path, stem: str) -> Artifact:
        path = folder / f"{stem}.tflite"
        path.write_bytes(model.value)
        return Artifact(self.name, path, (path,), model.source)

    def open(self, artifact: Artifact) -> Model:
        model = self._read(artifact.path)
        return Model(self.name, model.value, artifact.source)

    def tensors(self, model: Model) -> Iterator[StoredTensor]:
        return TFLiteFile(model.value).tensors()

    def operators(self, model: Model) -> Mapping[str, int]:
        return TFLiteFile(model.value).operators()

    def inputs(self, model: Model) -> tuple[Mapping[str, tuple[int, ...]] | None, Mapping[str, str]]:
        """No shapes where an inner size is open, or an input has no batch axis."""
        file = TFLiteFile(model.value)
        declared = file.inputs()
        known = declared and all(shape and min(shape[1:], default=1) > 0 for shape, _ in declared.values())
        return (
            {name: shape[1:] for name, (shape, _) in declared.items()} if known else None,
            file.as_fed(),
        )

    def recipes(self, data: bool) -> tuple[tuple[str, ...], ...]:
        modes = (*(("static",) if data else ()), "dynamic", "weight_only")
        return tuple(("quantize: litert", f"mode: {mode}") for mode in modes)

    def ports(self, model: Model) -> tuple[list[Port], list[Port]]:
        file = TFLiteFile(model.value)
        return _ports(file.inputs()), _ports(file.outputs())

    def called_as(self, candidate: Artifact, original: Artifact) -> Artifact:
        return called_as(candidate, original)

    def _read(self, path: Path) -> Model:
        content = path.read_bytes()
        TFLiteFile(content, path.name)
        return Model(self.name, content)


def _ports(found: Mapping[str, tuple[tuple[int, ...], str]]) -> list[Port]:
    return [
        {"name": name, "dtype": dtype, "shape": ["?" if size < 0 else size for size in shape]}
        for name, (shape, dtype) in found.items()
    ]


FORMATS.add(TFLite.name, TFLite())
