"""torch `nn.Module`: the user's code builds it, a safetensors checkpoint ships.

A quantized layer's packed weight is stored as codes, scales and zero points, so that no pickle is needed; a step
that changed the module's layers brings `Step.rebuild`, which gives a fresh module the same ones before its
checkpoint is loaded.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import FORMATS, STEPS, Model, Quantization, StoredTensor, Use
from weighbridge.core.errors import StageError, did_you_mean, first_line
from weighbridge.core.listed import few
from weighbridge.core.references import call, resolve
from weighbridge.core.results import Artifact
from weighbridge.core.trust import is_trusted, refusal
from weighbridge.formats.base import FormatBase
from weighbridge.formats.keras_inputs import generation
from weighbridge.formats.reduced_floats import reduced_float
from weighbridge.formats.torch_device import module_on_cpu
from weighbridge.formats.torch_hidden import check_beside, refuse_unregistered
from weighbridge.formats.torch_misfit import misfit
from weighbridge.formats.torch_packed import as_array, coded, flatten, is_torchao, pack, shown, unexplained
from weighbridge.formats.torch_reparametrized import apply_masks, refuse
from weighbridge.formats.torch_shapes import fit_shapes

if TYPE_CHECKING:
    import torch

_UNREAD = (
    "nothing says whether its integers are codes of weights, and of what scale; export the model to ONNX, or, if they "
    "are none, register the buffer with `persistent=False`"
)


class TorchModule(FormatBase):
    name = "torch"
    suffixes = (".safetensors",)
    engine = "torch"
    whole_file = False

    def load(self, reference: str, weights: Path | None, folder: Path) -> Model:
        import torch

        if isinstance(resolve(reference, folder), torch.nn.Module):
            raise StageError(
                "load",
                f"{reference} is a module; name a function that builds one, so that every load has its own",
            )
        module = call(reference, folder)
        if not isinstance(module, torch.nn.Module):
            keras = generation(module) is not None
            raise StageError(
                "load",
                f"{reference}() gave a {type(module).__name__}, not a torch.nn.Module"
                + (
                    "; a Keras model is named as such, `model: {keras: …}`, or saved as a .keras file"
                    if keras
                    else ""
                ),
            )
        module = module_on_cpu(module)
        refuse(module, "load", kinds=("mask",))
        refuse_unregistered(module, "load")
        zeros = count_zeros(module)
        notes: tuple[str, ...] = ()
        if weights is not None:
            state, masked = apply_masks(read_checkpoint(weights))
            if masked:
                notes = (
                    f"{weights.name} holds pruning masks beside the full weights of {', '.join(masked)}: they were "
                    "applied while loading, as torch.nn.utils.prune.remove does",
                )
            _load_state(module, state, str(weights))
        source = {"reference": reference, "folder": str(folder), "rebuild": [], "zeros": zeros}
        return Model("torch", module.eval(), source, notes)

    def save(self, model: Model, folder: Path, stem: str) -> Artifact:
        from safetensors.torch import save_file

        refuse(model.value, "save", kinds=("mask",))
        refuse_unregistered(model.value, "save")
        tensors, aliases = flatten(model.value)
        path = folder / f"{stem}.safetensors"
        save_file(
            _apart(tensors),
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
        module = call(artifact.source["reference"], Path(artifact.source["folder"]))
        module = module_on_cpu(module).eval()
        for key, options, facts in artifact.source["rebuild"]:
            step = STEPS.get(key)
            if step.rebuild is None:
                raise StageError(
                    "open", f"step '{key}' changed the module's layers and registers no `rebuild`"
                )
            stated = step.options.model_validate_json(json.dumps(options))
            module = step.rebuild(Model("torch", module), stated, facts).value
        fit_shapes(module, tensors)
        _load_state(module, pack(tensors, module), str(artifact.path))
        return Model("torch", module.eval(), artifact.source)

    def tensors(self, model: Model) -> Iterator[StoredTensor]:
        """The floats and the codes of the state dict; a Parameter that two layers share is given once."""
        tensors, _ = flatten(model.value)
        layers = dict(model.value.named_modules(remove_duplicate=False))
        bases = coded(tensors, model.value)
        for name, tensor in tensors.items():
            base, _, last = name.rpartition(".")
            if base in bases and last == "codes":
                axis = tensors.get(f"{base}.axis")
                scale, zero_point = (tensors[f"{base}.{part}"].numpy() for part in ("scale", "zero_point"))
                quantization = Quantization(8, scale, zero_point, None if axis is None else int(axis))
                yield _stored(layers, shown(base, layers), tensor, quantization)
            elif last == "scale" and f"{name.removesuffix('scale')}zero_point" in tensors:
                continue  # of a quantized layer's output
            elif base not in bases and tensor.is_floating_point():
                yield _stored(layers, shown(name, layers), tensor, None)
        for name in unexplained(tensors, bases):
            yield replace(_stored(layers, name, tensors[name], None), unread=_UNREAD)

    def structure(self, model: Model) -> str:
        return repr(model.value)

    def operators(self, model: Model) -> Mapping[str, int]:
        leaves = (module for module in model.value.modules() if not any(True for _ in module.children()))
        return dict(Counter(_qualified(module) for module in leaves))

    def recipes(self, data: bool) -> tuple[tuple[str, ...], ...]:
        engine = "engine: onnxruntime    # exports to ONNX by itself"
        calibrated = (("quantize: static", engine), ("quantize: auto", engine))
        return (
            *(calibrated if data else ()),
            ("quantize: dynamic", engine),
            ("quantize: dynamic", "engine: torch"),
        )

    def inputs(self, model: Model) -> tuple[None, Mapping[str, str]]:
        return None, {}

    def check_against(self, candidate: Model, original: Model) -> None:
        check_beside(candidate.value, original.value)


def _stored(
    layers: Mapping[str, torch.nn.Module], name: str, tensor: torch.Tensor, quantization: Quantization | None
) -> StoredTensor:
    dtype, stored_bytes = str(tensor.dtype).removeprefix("torch."), tensor.numel() * tensor.itemsize
    if tensor.is_floating_point() and tensor.itemsize < 4:
        quantization = reduced_float(dtype, 8 * tensor.itemsize)
        tensor = tensor.float()
    layer, _, attribute = name.rpartition(".")
    use = Use(layout=_layout(layers.get(layer), tensor.dim()) if attribute == "weight" else "")
    return StoredTensor(name, as_array(tensor), dtype, stored_bytes, quantization, layer, use=use)


def _layout(layer: torch.nn.Module | None, rank: int) -> str:
    """Of the weight of a Linear or a convolution, quantized or not; transposed convolutions keep inputs first."""
    import torch

    kind = _qualified(layer)
    quantized = kind.startswith("quantized.") and ("Linear" in kind or "Conv" in kind)
    if rank < 2 or not (quantized or isinstance(layer, torch.nn.Linear | torch.nn.modules.conv._ConvNd)):
        return ""
    return ("io" if getattr(layer, "transposed", False) else "oi") + "".join(map(str, range(rank - 2)))


def _qualified(module: Any) -> str:
    quantized = "quantized" in type(module).__module__
    return f"quantized.{type(module).__name__}" if quantized else type(module).__name__


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, or of a torch checkpoint: its own, or those of the one state dict that it holds beside
    an optimizer's state and the like. Raises `StageError`.
    """
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        siblings = path.parent.glob(f"*{path.suffix}") if path.parent.is_dir() else ()
        raise StageError(
            "load", f"no weights file {path}{did_you_mean(path.name, (one.name for one in siblings))}"
        )
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=not is_trusted(path))
    except pickle.UnpicklingError as error:
        raise refusal(path, "it holds pickled code, which is not run") from error
    except RuntimeError as error:
        if "TorchScript" in str(error):
            raise StageError(
                "load",
                f"{path} is a TorchScript archive, a program and no checkpoint; keep its weights by themselves: "
                f"torch.save(torch.jit.load({path.name!r}).state_dict(), 'weights.pt')",
            ) from error
        raise _unreadable(path, error) from error
    except (SafetensorError, EOFError, OSError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from error
    if isinstance(state, torch.nn.Module):
        state = state.state_dict()
    if _is_state(state):
        return dict(state)
    parts = state if isinstance(state, dict) else {}
    held = {key: value for key, value in parts.items() if _is_state(value) and value}
    if "state_dict" not in held and len(held) != 1:
        told = f"several state dicts, {few(map(repr, held))}" if held else "no state dict of tensors"
        raise StageError(
            "load", f"{path} holds {told}; save the one to judge: torch.save(module.state_dict(), ...)"
        )
    return dict(held["state_dict"] if "state_dict" in held else next(iter(held.values())))


def _unreadable(path: Path, error: Exception) -> StageError:
    return StageError("load", f"{path} cannot be read, it is truncated or no checkpoint: {first_line(error)}")


def _is_state(value: Any) -> bool:
    import torch

    return isinstance(value, Mapping) and all(isinstance(tensor, torch.Tensor) for tensor in value.values())


def _load_state(module: torch.nn.Module, state: Mapping[str, Any], what: str) -> None:
    versioned = OrderedDict(state)
    versioned._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]  # quantized layers read their version here
    try:
        module.load_state_dict(versioned, strict=True)
        if _part_views(module, state):
            module.load_state_dict(versioned, strict=True)
    except RuntimeError as error:
        why = misfit(module.state_dict(), state) or first_line(error)
        raise StageError("load", f"{what} does not fit the module: {why}") from error


def count_zeros(module: torch.nn.Module) -> dict[str, int]:
    """Zeros in each matrix or filter that has any, by name: those of a fresh module are its initialization's."""
    import numpy as np

    def zeros(weight: torch.Tensor) -> int:
        """By numpy: beside a busy neighbour torch's threads take a hundred times as long."""
        weight = weight.detach().cpu()
        return int(np.count_nonzero((weight.float() if weight.itemsize < 4 else weight).numpy() == 0))

    counts = {
        name: zeros(weight)
        for name, weight in module.named_parameters()
        if weight.dim() > 1 and weight.is_floating_point() and not is_torchao(weight)
    }
    return {name: count for name, count in counts.items() if count}


def _part_views(module: torch.nn.Module, state: Mapping[str, Any]) -> bool:
    """Give buffers memory of their own where loading one overwrote another; whether there were such.

    A fresh module may keep a view of a weight as a buffer. A step of the user's own may have changed the one and not
    the other.
    """
    import torch

    now = module.state_dict()
    if not _share_memory(now):
        return False
    wrong = [
        name
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
        and not value.is_quantized
        and not is_torchao(value)
        and not torch.equal(now[name], value.to(now[name]))
    ]
    for name, buffer in list(module.named_buffers()) if wrong else ():
        layer, _, attribute = name.rpartition(".")
        module.get_submodule(layer)._buffers[attribute] = buffer.clone()
    return bool(wrong)


def _share_memory(state: Mapping[str, Any]) -> bool:
    import torch

    tensors = [
        value
        for value in state.values()
        if isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and value.numel()
        and not is_torchao(value)
    ]
    return len({value.untyped_storage().data_ptr() for value in tensors}) < len(tensors)


def _apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor in memory of its own: safetensors refuses a view of another, which a buffer may be."""
    owned: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        part = storage.nbytes() != tensor.numel() * tensor.itemsize or storage.data_ptr() in owned
        apart[name] = tensor.contiguous().clone() if part else tensor.contiguous()
        owned.add(apart[name].untyped_storage().data_ptr())
    return apart


FORMATS.add(TorchModule.name, TorchModule())
