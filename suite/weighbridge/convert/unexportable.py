"""Why torch.onnx.export failed, where the module or its outputs show it better than torch's own words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from weighbridge.core.listed import few

if TYPE_CHECKING:
    import torch


def unexportable(module: torch.nn.Module, inputs: Any) -> str | None:
    """What of `module` no export can carry and what to do, or None where nothing is seen. It runs on `inputs`."""
    import torch

    quantized = [
        name
        for name, part in module.named_modules()
        if "quantized" in type(part).__module__ and not name.endswith("_packed_params")
    ]
    if quantized:
        return (
            f"torch.onnx.export cannot write layers that torch has quantized: {few(quantized)}; quantize with "
            "`engine: onnxruntime` in the step, or leave the case's own `engine` out, so that torch serves it"
        )
    with torch.inference_mode():
        result = module(**inputs) if isinstance(inputs, dict) else module(*inputs)
    strange = [f"{name} ({type(value).__name__})" for name, value in _strange(result, "output")]
    if strange:
        return (
            f"torch.onnx.export cannot write what is no tensor among the module's outputs: {few(strange)}; let the function "
            "that builds the module give one that returns tensors only, as a decoder of transformers does with "
            "`use_cache=False` in its configuration"
        )
    return None


def _strange(result: Any, name: str) -> Iterator[tuple[str, Any]]:
    """What is neither a tensor nor made of tensors, and what it is called."""
    import torch

    if isinstance(result, Mapping):
        for key, value in result.items():
            yield from _strange(value, str(key))
    elif isinstance(result, list | tuple):
        for value in result:
            yield from _strange(value, name)
    elif not isinstance(result, torch.Tensor | int | float | str | None):
        yield name, result
