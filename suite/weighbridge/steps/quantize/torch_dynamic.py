"""torch's dynamic quantization: int8 weights, activations quantized as they come. Linear layers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from weighbridge.contracts import STEPS, Context, Model, Options, Step
from weighbridge.core.errors import StageError
from weighbridge.environment.quiet import quiet


class DynamicOptions(Options):
    per_channel: bool = False


def dynamic(model: Model, options: DynamicOptions, context: Context | None) -> Model:
    """`torch.ao.quantization.quantize_dynamic`, also where the module is itself a Linear.

    torch swaps children only, and returns a root Linear as it was, without a word; inside a wrapper it is a child.
    """
    import torch

    source = copy.deepcopy(model.value)
    if not any(isinstance(part, torch.nn.Linear) for part in source.modules()):
        kinds = sorted({type(part).__name__ for part in source.modules()})
        raise StageError(
            "quantize",
            f"torch's dynamic quantization converts Linear layers, and there is none among {', '.join(kinds)}; "
            "use `quantize: static` with `engine: onnxruntime`",
        )
    qconfig = (
        torch.ao.quantization.per_channel_dynamic_qconfig
        if options.per_channel
        else torch.ao.quantization.default_dynamic_qconfig
    )
    with quiet():  # torch announces the move of torch.ao.quantization at each call
        wrapped = torch.ao.quantization.quantize_dynamic(
            torch.nn.Sequential(source), {torch.nn.Linear: qconfig}, dtype=torch.qint8
        )
    left = [
        name
        for name, part in wrapped[0].named_modules(remove_duplicate=False)
        if isinstance(part, torch.nn.Linear)
    ]
    notes = (f"torch left {', '.join(left)} in float",) if left else ()  # as where two names share one layer
    replay = [*model.source.get("replay", []), ("quantize:dynamic@torch", options.model_dump())]
    return Model("torch", wrapped[0].eval(), {**model.source, "replay": replay}, notes)


def scheme(options: DynamicOptions) -> Mapping[str, Any]:
    return {"bits": 8, "per_channel": options.per_channel, "symmetric": options.per_channel, "signed": True}


STEPS.add(
    "quantize:dynamic@torch",
    Step(
        "quantize",
        "dynamic",
        ("torch",),
        DynamicOptions,
        dynamic,
        engine="torch",
        must="quantize",
        restructures=True,
        scheme=scheme,
    ),
)
