"""torch, eager: serves modules and exported programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from weighbridge.contracts import ENGINES, FORMATS, Array, EngineOptions, Inputs, Requirement
from weighbridge.core.results import Artifact

if TYPE_CHECKING:
    import torch


class TorchOptions(EngineOptions):
    device: str = "cpu"
    """As torch writes it: `cpu`, `cuda`, `cuda:1`."""


class TorchSession:
    def __init__(self, module: torch.nn.Module, options: TorchOptions) -> None:
        self.module = module.to(options.device) if options.device != "cpu" else module
        self.options = options

    def run(self, inputs: Inputs) -> tuple[Array, ...]:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.options.threads)
        try:
            return run_module(self.module, inputs, self.options.device)
        finally:
            torch.set_num_threads(before)

    def bind(self, inputs: Inputs) -> Callable[[], object]:
        """Threads stay set: this is for measuring, where nothing else runs."""
        import torch

        torch.set_num_threads(self.options.threads)
        args = to_tensors(inputs, self.options.device)
        module, cuda = self.module, self.options.device.startswith("cuda")
        positional, named = ((), args) if isinstance(args, dict) else (args, {})

        def call() -> object:
            with torch.inference_mode():
                result = module(*positional, **named)
            if cuda:
                torch.cuda.synchronize()
            return result

        return call


class TorchEager:
    name = "torch"
    formats = ("torch", "exported")
    options: type[EngineOptions] = TorchOptions
    requires: tuple[Requirement, ...] = ()

    def open(self, artifact: Artifact, options: Any) -> TorchSession:
        import torch

        value = FORMATS.get(artifact.format).open(artifact).value
        module = value.module() if artifact.format == "exported" else value
        if any(isinstance(part, torch.nn.TransformerEncoderLayer) for part in module.modules()) and any(
            "quantized" in type(part).__module__ for part in module.modules()
        ):
            torch.backends.mha.set_fastpath_enabled(
                False
            )  # the fast path reads float weights of quantized layers
        return TorchSession(module, options)


def to_tensors(inputs: Inputs, device: str = "cpu") -> Any:
    """A batch as torch tensors on `device`, a tuple or a dict as it came."""
    import numpy as np
    import torch

    def tensor(array: Array) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(device)

    return (
        {name: tensor(array) for name, array in inputs.items()}
        if isinstance(inputs, dict)
        else tuple(map(tensor, inputs))
    )


def run_module(module: Any, inputs: Inputs, device: str = "cpu") -> tuple[Array, ...]:
    """The module's tensor outputs for one batch, flattened in order, as numpy."""
    import torch

    args = to_tensors(inputs, device)
    with torch.inference_mode():
        result = module(**args) if isinstance(args, dict) else module(*args)
    return tuple(
        tensor.detach().cpu().float().numpy() if tensor.is_floating_point() else tensor.cpu().numpy()
        for tensor in leaves(result)
    )


def leaves(result: Any) -> list[torch.Tensor]:
    if hasattr(result, "detach"):
        return [result]
    if isinstance(result, Mapping):
        return [leaf for value in result.values() for leaf in leaves(value)]
    if isinstance(result, list | tuple):
        return [leaf for value in result for leaf in leaves(value)]
    return []


ENGINES.add(TorchEager.name, TorchEager())
