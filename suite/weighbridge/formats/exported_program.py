"""`torch.export` programs: a `.pt2` file, or a callable that gives an `ExportedProgram`."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from weighbridge.contracts import FORMATS, Model, Port, StoredTensor
from weighbridge.core.errors import StageError, first_line
from weighbridge.core.references import call
from weighbridge.core.results import Artifact
from weighbridge.core.trust import TRUSTED, is_trusted, refusal
from weighbridge.formats.base import FormatBase
from weighbridge.formats.called import by_ports
from weighbridge.formats.exported_archive import check_place, check_program, check_text
from weighbridge.formats.exported_codes import codes_of, packed_in
from weighbridge.formats.exported_state import check_state
from weighbridge.formats.exported_training import in_training
from weighbridge.formats.opened import opened
from weighbridge.formats.torch_device import archive_on_cpu, program_on_cpu
from weighbridge.formats.training_mode import check_training

_PACKED = "its numbers are taken apart by shifts or division, so that each holds several codes"


class ExportedProgram(FormatBase):
    name = "exported"
    suffixes = (".pt2",)
    engine = "torch"
    declares_inputs = True

    def load(self, reference: str, weights: Path | None, folder: Path) -> Model:
        import torch

        if weights is not None:
            raise StageError("load", "an exported program carries its weights; `weights` belongs to torch")
        if reference.endswith(self.suffixes):
            trusted = is_trusted(folder / reference)
            return Model("exported", _read(folder / reference, trusted), {TRUSTED: True} if trusted else {})
        program = call(reference, folder)
        if not isinstance(program, torch.export.ExportedProgram):
            raise StageError(
                "load", f"{reference}() gave a {type(program).__name__}, not a torch.export.ExportedProgram"
            )
        return Model("exported", program_on_cpu(program))

    def save(self, model: Model, folder: Path, stem: str) -> Artifact:
        import torch

        path = folder / f"{stem}.pt2"
        torch.export.save(model.value, path)
        return Artifact("exported", path, (path,), model.source)

    def open(self, artifact: Artifact) -> Model:
        return Model("exported", _read(artifact.path, TRUSTED in artifact.source), artifact.source)

    def tensors(self, model: Model) -> Iterator[StoredTensor]:
        coded, packed = codes_of(model.value), packed_in(model.value)
        parameters = {name for one in coded.values() for name in one.parameters}
        for name, tensor in {**model.value.state_dict, **model.value.constants}.items():
            if not hasattr(tensor, "detach") or name in parameters:
                continue
            value, known = tensor.detach(), coded.get(name)
            stored = StoredTensor(
                name,
                value.float().numpy() if value.dtype.is_floating_point else value.numpy(),
                str(value.dtype).removeprefix("torch."),
                value.numel() * value.itemsize,
                layer=name.rpartition(".")[0],
                unread=_PACKED if name in packed else "",
            )
            if known is not None:
                stored = replace(stored, quantization=known.quantization, layer=known.layer, use=known.use)
            yield stored

    def operators(self, model: Model) -> Mapping[str, int]:
        return dict(
            Counter(str(node.target) for node in model.value.graph.nodes if node.op == "call_function")
        )

    def inputs(self, model: Model) -> tuple[Mapping[str, tuple[int, ...]] | None, Mapping[str, str]]:
        """No shapes where an inner size is open, or an input has no batch axis."""
        ports, _ = self.ports(model)
        known = ports and all(port["shape"] and _all_known(port["shape"][1:]) for port in ports)
        shapes = {port["name"]: tuple(port["shape"][1:]) for port in ports}
        return (shapes if known else None), {port["name"]: port["dtype"] for port in ports}

    def recipes(self, data: bool) -> tuple[tuple[str, ...], ...]:
        engine = "engine: onnxruntime"
        static = (
            ("quantize: static", engine, "per_channel: true"),
            ("quantize: static", engine),
        )
        return (*(static if data else ()), ("quantize: dynamic", engine))

    def check_against(self, candidate: Model, original: Model) -> None:
        check_training(in_training(candidate.value), in_training(original.value))
        check_state(candidate.value, original.value)

    def called_as(self, candidate: Artifact, original: Artifact) -> Artifact:
        return by_ports(self, candidate, original, outputs=False)

    def in_training(self, artifact: Artifact) -> Sequence[str]:
        return in_training(opened(artifact).value)

    def ports(self, model: Model) -> tuple[list[Port], list[Port]]:
        values = {node.name: node.meta.get("val") for node in model.value.graph.nodes}
        output = next(node for node in model.value.graph.nodes if node.op == "output")
        values |= {node.name: node.meta.get("val") for node in output.all_input_nodes}

        def port(name: str) -> Port:
            value = values.get(name)
            shape = [size if isinstance(size, int) else str(size) for size in getattr(value, "shape", ())]
            return {
                "name": name,
                "dtype": str(getattr(value, "dtype", "?")).removeprefix("torch."),
                "shape": shape,
            }

        signature = model.value.graph_signature
        return [port(str(name)) for name in signature.user_inputs], [
            port(str(name)) for name in signature.user_outputs
        ]


def _all_known(sizes: Sequence[int | str]) -> bool:
    return all(isinstance(size, int) for size in sizes)


def _read(path: Path, trusted: bool) -> object:
    import torch
    import torch.ao.quantization.fx._decomposed  # brings the operators of quantized programs

    if not path.is_file():
        raise StageError("load", f"no model file {path}")
    if not trusted:
        check_program(path)
        _check_as_torch_reads(path)
    try:
        with nullcontext() if trusted else _tensors_only():
            return torch.export.load(archive_on_cpu(path, trusted))
    except pickle.UnpicklingError as error:
        raise refusal(path, "it holds pickled code, which is not run") from error
    except Exception as error:  # the archive reader raises whatever its parts raise
        raise StageError(
            "load",
            f"{path} cannot be read, it is truncated or no exported program: {first_line(error)}",
        ) from error


def _check_as_torch_reads(path: Path) -> None:
    """The same once more, from torch's own reader of archives, which may see another text than Python's."""
    import torch

    try:
        archive = torch._C.PyTorchFileReader(str(path))
        names = archive.get_all_records()
        texts = {name: archive.get_record(name) for name in names if name.lower().endswith(".json")}
    except RuntimeError:
        return  # torch's older format is read by Python's reader
    for name in names:
        check_place(name, path)
    for name, text in texts.items():
        check_text(text, name, path)


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Inside, torch unpickles tensors and nothing else.

    An archive's sample inputs are a pickle, and where the restricted reader refuses it torch falls back on the
    unrestricted one, which runs whatever code the pickle names; this variable forbids the fallback.
    """
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


FORMATS.add(ExportedProgram.name, ExportedProgram())
