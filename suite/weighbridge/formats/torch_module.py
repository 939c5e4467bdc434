"""torch `nn.Module`: the user's code builds it, a safetensors checkpoint ships.

A quantized layer's packed weight is stored as codes, scales and zero points, so that no pickle is needed; the
steps that changed the module's structure are repeated when the checkpoint is opened.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import FORMATS, STEPS, Model, Quantization, Requirement, StoredTensor
from weighbridge.core.errors import StageError
from weighbridge.core.references import call
from weighbridge.core.results import Artifact
from weighbridge.formats.reduced_floats import reduced_float
from weighbridge.formats.torch_packed import flatten, pack, shown

if TYPE_CHECKING:
    import torch


class TorchModule:
    name = "torch"
    suffixes = (".safetensors",)
    engine = "torch"
    requires: tuple[Requirement, ...] = ()

    def load(self, reference: str, weights: Path | None, folder: Path) -> Model:
        import torch

        module = call(reference, folder)
        if not isinstance(module, torch.nn.Module):
            raise StageError("load", f"{reference}() gave a {type(module).__name__}, not a torch.nn.Module")
        if weights is not None:
            _load_state(module, read_checkpoint(weights), str(weights))
        return Model("torch", module.eval(), {"reference": reference, "folder": str(folder), "replay": []})

    def save(self, model: Model, folder: Path, stem: str) -> Artifact:
        from safetensors.torch import save_file

        tensors, aliases = flatten(model.value)
        path = folder / f"{stem}.safetensors"
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            path,
            metadata={"aliases": json.dumps(aliases)},
        )
        return Artifact("torch", path, (path,), model.source)

    def open(self, artifact: Artifact) -> Model:
        from safetensors import safe_open

        with safe_open(artifact.path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            aliases = json.loads((file.metadata() or {}).get("aliases", "{}"))
        tensors.update({alias: tensors[name] for alias, name in aliases.items()})
        module = call(artifact.source["reference"], Path(artifact.source["folder"])).eval()
        for key, options in artifact.source["replay"]:
            step = STEPS.get(key)
            module = step.apply(Model("torch", module), step.options.model_validate(options), None).value  # type: ignore[arg-type]
        _load_state(module, pack(tensors), str(artifact.path))
        return Model("torch", module.eval(), artifact.source)

    def tensors(self, model: Model) -> Iterator[StoredTensor]:
        """The floats and the codes of the state dict; a Parameter that two layers share is given once."""
        tensors, _ = flatten(model.value)
        coded = {name.removesuffix(".codes") for name in tensors if name.endswith(".codes")}
        for name, tensor in tensors.items():
            base, _, last = name.rpartition(".")
            if base in coded and last == "codes":
                axis = tensors.get(f"{base}.axis")
                scale, zero_point = (tensors[f"{base}.{part}"].numpy() for part in ("scale", "zero_point"))
                quantization = Quantization(8, scale, zero_point, None if axis is None else int(axis))
                yield _stored(shown(base), tensor, quantization)
            elif last == "scale" and f"{base}.zero_point" in tensors:
                continue  # of a quantized layer's output
            elif base not in coded and tensor.is_floating_point():
                yield _stored(shown(name), tensor, None)

    def operators(self, model: Model) -> Mapping[str, int]:
        leaves = (module for module in model.value.modules() if not any(True for _ in module.children()))
        return dict(Counter(_qualified(module) for module in leaves))

    def inputs(self, model: Model) -> tuple[None, Mapping[str, str]]:
        return None, {}


def _stored(name: str, tensor: torch.Tensor, quantization: Quantization | None) -> StoredTensor:
    dtype, stored_bytes = str(tensor.dtype).removeprefix("torch."), tensor.numel() * tensor.itemsize
    if tensor.is_floating_point() and tensor.itemsize < 4:
        quantization = reduced_float(dtype, 8 * tensor.itemsize)
        tensor = tensor.float()
    return StoredTensor(name, tensor.numpy(), dtype, stored_bytes, quantization, name.rpartition(".")[0])


def _qualified(module: Any) -> str:
    quantized = "quantized" in type(module).__module__
    return f"quantized.{type(module).__name__}" if quantized else type(module).__name__


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, or of a torch checkpoint that holds tensors only; raises `StageError`."""
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise StageError("load", f"no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise StageError(
            "load",
            f"{path} holds pickled code, which is not run. Where you trust it, convert it once: "
            f"safetensors.torch.save_file(torch.load(..., weights_only=False).state_dict(), '{path.stem}.safetensors')",
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise StageError(
            "load", f"{path} cannot be read, it is truncated or no checkpoint: {str(error).splitlines()[0]}"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise StageError("load", f"{path} holds no state dict of tensors")
    return state


def _load_state(module: torch.nn.Module, state: Mapping[str, Any], what: str) -> None:
    versioned = OrderedDict(state)
    versioned._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]  # quantized layers read their version here
    try:
        module.load_state_dict(versioned, strict=True)
    except RuntimeError as error:
        raise StageError(
            "load", f"{what} does not fit the module: {str(error).partition(':')[2].strip()[:600]}"
        ) from error


FORMATS.add(TorchModule.name, TorchModule())
