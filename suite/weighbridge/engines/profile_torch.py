"""Where eager torch's time goes, from torch's profiler, and what a converted module still carries along."""

from __future__ import annotations

from typing import Any

from weighbridge.contracts import ENGINES, Inputs
from weighbridge.core.results import Artifact
from weighbridge.engines.profile import (
    PROFILERS,
    WORTH_SAYING,
    OperatorTime,
    Profile,
    Profiler,
    float_left,
    same_work,
)

HEAVY = {
    "aten::addmm": ("quantized::linear", "quantized::linear_relu", "quantized::linear_dynamic"),
    "aten::mm": ("quantized::linear", "quantized::linear_relu", "quantized::linear_dynamic"),
    "aten::mkldnn_convolution": ("quantized::conv2d", "quantized::conv2d_relu"),
}
LINKS = ("aten::quantize_per_tensor", "aten::dequantize")


def run(artifact: Artifact, options: Any, inputs: Inputs) -> Profile:
    """Self time of each operator in the fastest of five warm runs."""
    from torch.profiler import ProfilerActivity, profile

    session = ENGINES.get("torch").open(artifact, options)
    call = session.bind(inputs)
    call()
    fastest: tuple[OperatorTime, ...] = ()
    for _ in range(5):
        with profile(activities=[ProfilerActivity.CPU]) as record:
            call()
        rows = tuple(
            OperatorTime(row.key, row.count, row.self_cpu_time_total / 1e3, _types(row.key))
            for row in record.key_averages()
        )
        if not fastest or sum(row.ms for row in rows) < sum(row.ms for row in fastest):
            fastest = rows
    module: Any = getattr(session, "module", None)
    masks = sum(name.endswith("_mask") for name, _ in module.named_buffers()) if module is not None else 0
    return Profile(fastest, masks)


def advise(baseline: Profile, candidate: Profile) -> list[str]:
    lines = []
    if candidate.masks:
        lines.append(
            f"{candidate.masks} pruning masks are multiplied with their weights at every call, "
            f"{candidate.share('aten::mul'):.0%} of the time: make pruning permanent (torch's `prune.remove`)"
        )
    if (share := candidate.share(*LINKS)) >= WORTH_SAYING and candidate.count(*LINKS) > 2:
        lines.append(
            f"{candidate.count(*LINKS)} conversions between float and int8 take {share:.0%} of the time: "
            "quantize the layers between them too"
        )
    if any(row.types for row in candidate.operators):
        return lines + float_left(candidate, HEAVY)
    return lines + ([] if candidate.masks else same_work(baseline, candidate, tuple(HEAVY)))


def _types(operator: str) -> tuple[str, ...]:
    return ("int8",) if operator.startswith(("quantized::", "onednn::")) else ()


PROFILERS.add("torch", Profiler(run, advise))
