"""torch, eager: serves modules and exported programs."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weighbridge.contracts import ENGINES, FORMATS, Array, EngineOptions, Inputs, Mixed, Session
from weighbridge.core.batches import cast, describe, items
from weighbridge.core.errors import StageError
from weighbridge.core.results import Artifact
from weighbridge.engines.base import EngineBase
from weighbridge.engines.named import last_are_targets
from weighbridge.formats.called import CALLED
from weighbridge.formats.torch_device import two_devices

if TYPE_CHECKING:
    import torch


class TorchOptions(EngineOptions):
    device: str = Field(default="cpu", description="As torch writes it: `cpu`, `cuda`, `cuda:1`.")


class TorchSession:
    def __init__(self, module: torch.nn.Module, options: TorchOptions) -> None:
        self.module = placed(module, options.device)
        self.threads, self.device = options.threads, options.device

    def serving(self, inputs: Inputs) -> tuple[Callable[..., Any], torch.dtype]:
        """What answers this batch, and the type of its floats."""
        return self.module, float_type(self.module)

    def run(self, inputs: Inputs) -> tuple[Array, ...]:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            module, floats = self.serving(inputs)
            return run_module(module, inputs, self.device, floats)
        finally:
            torch.set_num_threads(before)

    def bind(self, inputs: Inputs) -> Callable[[], object]:
        """Threads stay set: this is for measuring, where nothing else runs."""
        import torch

        torch.set_num_threads(self.threads)
        module, floats = self.serving(inputs)
        args = to_tensors(inputs, self.device, floats)
        positional, named = ((), args) if isinstance(args, dict) else (args, {})
        return calling(module, positional, named, self.device)


class TorchEager(EngineBase):
    name = "torch"
    formats = ("torch", "exported")
    options: type[EngineOptions] = TorchOptions
    packages = ("torch",)

    def open(self, artifact: Artifact, options: Any) -> Session:
        value = FORMATS.get(artifact.format).open(artifact).value
        if artifact.format == "exported":
            from weighbridge.engines.torch_exported import ExportedSession

            return ExportedSession(value, options).called(artifact.source.get(CALLED, {}))
        return TorchSession(served(value), options)

    def mixed(self, original: Artifact, candidate: Artifact, options: Any) -> Iterator[Mixed]:
        from weighbridge.engines.torch_mixed import mixed

        return mixed(original, candidate, options)


def served(module: torch.nn.Module) -> torch.nn.Module:
    """The module, with torch told what it would get wrong: attention's fast path reads float weights of quantized layers."""
    import torch

    if any(isinstance(part, torch.nn.TransformerEncoderLayer) for part in module.modules()) and any(
        "quantized" in type(part).__module__ for part in module.modules()
    ):
        torch.backends.mha.set_fastpath_enabled(False)
    return module


def calling(
    module: Callable[..., Any], positional: Sequence[Any], named: Mapping[str, Any], device: str
) -> Callable[[], Any]:
    """A call with these tensors, which ends when a GPU is done with it."""
    import torch

    cuda = device.startswith("cuda")

    def call() -> Any:
        with torch.inference_mode():
            result = module(*positional, **named)
        if cuda:
            torch.cuda.synchronize()
        return result

    return call


def placed(module: torch.nn.Module, device: str) -> torch.nn.Module:
    """The module on the device; raises `StageError` where torch knows no such device, or sees none here."""
    import torch

    if device == "cpu":
        return module
    try:
        torch.empty(0, device=torch.device(device))
    except Exception as error:  # each kind of device has its own
        raise StageError(
            "open",
            f"torch has no device '{device}' here ({first_of(error)}); leave `device` out to run on the CPU, or let the case be "
            "skipped where there is none, as by `requires: [{command: nvidia-smi}]`",
        ) from error
    return module.to(device)


def to_tensors(inputs: Inputs, device: str = "cpu", floats: torch.dtype | None = None) -> Any:
    """A batch as torch tensors on `device`, a tuple or a dict as it came; floats in the type `floats` where given."""
    tensors = {name: one_tensor(array, name, device, floats) for name, array, _ in items(inputs)}
    return tensors if isinstance(inputs, dict) else tuple(tensors.values())


def one_tensor(
    array: Array, name: str, device: str = "cpu", floats: torch.dtype | None = None
) -> torch.Tensor:
    """The input `name` on `device`; floats in the type `floats` where given."""
    import numpy as np
    import torch

    if array.dtype.kind == "f" and floats is not None and floats != torch.bfloat16:
        array = cast(array, str(floats).removeprefix("torch."), name)
    elif array.dtype.kind not in "biuf":
        raise StageError(
            "data",
            f"input '{name}' is {array.dtype} in the data, and torch takes numbers: turn it into some, or leave it out of what "
            "the data gives",
        )
    result = torch.from_numpy(np.array(array)).to(device)
    return result.to(floats) if floats == torch.bfloat16 and result.is_floating_point() else result


def float_type(module: Any) -> torch.dtype:
    """What the module computes in: the type of its first floating parameter or buffer, float32 without one."""
    import torch

    held = itertools.chain(module.parameters(), module.buffers())
    return next((tensor.dtype for tensor in held if tensor.is_floating_point()), torch.float32)


def run_module(
    module: Any, inputs: Inputs, device: str = "cpu", floats: torch.dtype | None = None
) -> tuple[Array, ...]:
    """The module's tensor outputs for one batch, flattened in order, as numpy; raises `StageError` where it raises.

    `floats` is what it computes in, where that is known already.
    """
    import torch

    args = to_tensors(inputs, device, floats or float_type(module))
    try:
        with torch.inference_mode():
            result = module(**args) if isinstance(args, dict) else module(*args)
    except Exception as error:  # whatever the user's own forward raises
        whole = any(array.dtype.kind in "iu" for _, array, _ in items(inputs))
        hint = (
            "; whole numbers are handed over as they are, so give floats where it computes in floats"
            if whole
            else ""
        )
        raise StageError(
            "run",
            f"the module does not run on {describe(inputs)}{_takes(module, inputs)}{hint}: {first_of(error)}"
            f"{'' if device.startswith('cuda') else two_devices(error)}",
        ) from error
    return tuple(as_array(tensor) for tensor in leaves(result))


def as_array(tensor: torch.Tensor) -> Array:
    array: Array = (
        tensor.detach().cpu().float().numpy() if tensor.is_floating_point() else tensor.cpu().numpy()
    )
    return array


def _takes(module: Any, inputs: Inputs) -> str:
    """What the forward takes, and which of the data's names it does not."""
    try:
        parameters = inspect.signature(module.forward).parameters
    except (AttributeError, TypeError, ValueError):  # compiled code has none
        return ""
    said = f"; its forward takes ({', '.join(parameters)})"
    if isinstance(inputs, tuple):
        needed = [name for name, each in parameters.items() if each.default is each.empty]
        return said + (last_are_targets(needed) if len(needed) == len(inputs) + 1 else "")
    strange = [name for name in inputs if name not in parameters]
    kinds = {each.kind for each in parameters.values()}
    if not strange or inspect.Parameter.VAR_KEYWORD in kinds:
        return said
    if any(each.default is each.empty and each.name not in inputs for each in parameters.values()):
        return said  # a strange one may be the one that is lacking, by another name
    advice = f"leave out what is no input, or say that it is a target, `targets: {strange[0]}`"
    return f"{said}, and not {', '.join(strange)}: {advice}"


def first_of(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def leaves(result: Any) -> list[torch.Tensor]:
    if hasattr(result, "detach"):
        return [result]
    if isinstance(result, Mapping):
        return [leaf for value in result.values() for leaf in leaves(value)]
    if isinstance(result, list | tuple):
        return [leaf for value in result for leaf in leaves(value)]
    return []


ENGINES.add(TorchEager.name, TorchEager())
