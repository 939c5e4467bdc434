"""Why torch.onnx.export failed: what of the module no export can carry, or the line of its forward and torch's own words."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.core.listed import few

if TYPE_CHECKING:
    import torch

_LONGEST = 300
"""Letters of torch's own words: a condition on what the data holds names each number of it."""


def unexportable(error: Exception, module: torch.nn.Module, inputs: Any) -> str:
    """One sentence on why the export of `module` raised `error`, with what to do where that is known.

    It runs on `inputs`; None for a program, whose outputs are tensors.
    """
    import torch

    if isinstance(module, torch.jit.ScriptModule):
        return (
            "torch.onnx.export takes no TorchScript module: name a function that builds the module in Python, or give the ONNX "
            "file of `torch.onnx.export(module, inputs, 'model.onnx', dynamo=False)`"
        )
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
    strange = [f"{name} ({type(value).__name__})" for name, value in _others(module, inputs)]
    if strange:
        return (
            f"torch.onnx.export cannot write what is no tensor among the module's outputs: {few(strange)}; let the function "
            "that builds the module give one that returns tensors only, as a decoder of transformers does with "
            "`use_cache=False` in its configuration"
        )
    return f"torch.onnx.export failed{_where(error)}: {_told(error)}{_advice(error, module)}"


def _others(module: torch.nn.Module, inputs: Any) -> Iterator[tuple[str, Any]]:
    """What of the module's outputs is no tensor, and where it stands."""
    import torch

    if inputs is not None:
        with torch.inference_mode():
            result = module(**inputs) if isinstance(inputs, dict) else module(*inputs)
        yield from _strange(result, "output")


def _told(error: BaseException) -> str:
    """What torch says, of the innermost of its errors where the outer one only names a node."""
    cause = error.__cause__ or error
    if "See the stack trace" in str(cause) and cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip(" -") for line in str(cause).strip().splitlines()]
    told = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1]) or type(error).__name__
    return told if len(told) <= _LONGEST else f"{told[:_LONGEST]}…"


def _where(error: BaseException) -> str:
    """The innermost line that torch was tracing, outside of itself."""
    import torch

    inside, found = Path(torch.__file__).parent, ""
    traced = False
    for frame in traceback.extract_tb((error.__cause__ or error).__traceback__):
        own = Path(frame.filename).is_relative_to(inside)
        traced |= own
        if traced and not own and Path(frame.filename).is_file():
            line = linecache.getline(frame.filename, frame.lineno or 0).strip()
            found = f" at {Path(frame.filename).name}:{frame.lineno}, `{line}`"
    return found


def _advice(error: BaseException, module: torch.nn.Module) -> str:
    if "data-dependent" in str(error.__cause__ or error):
        return (
            "; a graph cannot branch on what its inputs hold: write it with torch.where, or build the module without that part, "
            "as a detector's network before it picks boxes"
        )
    held = (*module.named_parameters(), *module.named_buffers())
    if complex_ := [name for name, tensor in held if tensor.is_complex()]:
        return f"; few operators are written for complex numbers, as {few(complex_)} holds: compute with their cosines and sines"
    return ""


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
