"""Where ONNX Runtime's time goes, from its profiling JSON, and the known ways in which its int8 gets slow."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weighbridge.contracts import Inputs
from weighbridge.core.results import Artifact
from weighbridge.engines.profile import (
    PROFILERS,
    WORTH_SAYING,
    Profile,
    Profiler,
    float_left,
    same_work,
    summed,
)

RUNS = 10
HEAVY = {
    "Conv": ("QLinearConv", "ConvInteger"),
    "FusedConv": ("QLinearConv", "ConvInteger"),
    "MatMul": (
        "QLinearMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "MatMulNBits",
    ),
    "FusedMatMul": ("QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
    "Gemm": ("QGemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
    "FusedGemm": ("QGemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
}
LINKS = ("QuantizeLinear", "DequantizeLinear")


def run(artifact: Artifact, options: Any, inputs: Inputs) -> Profile:
    """The fastest of `RUNS` warm runs of each node, summed by operator."""
    from weighbridge.engines.onnxruntime import OnnxRuntimeSession

    with tempfile.TemporaryDirectory() as folder:
        session = OnnxRuntimeSession(
            str(artifact.path), options.threads, options.provider, str(Path(folder) / "profile")
        )
        call = session.bind(inputs)
        for _ in range(RUNS + 1):
            call()
        return parse(json.loads(Path(session.session.end_profiling()).read_text()))


def parse(events: Sequence[dict[str, Any]]) -> Profile:
    """A profile from ONNX Runtime's events. Times of a node are each node's minimum: bursts only ever add."""
    fastest: dict[tuple[str, str, tuple[str, ...]], float] = {}
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        shapes = event["args"].get("input_type_shape", [])
        types = tuple(kind for shape in shapes for kind in shape)
        key = event["name"], event["args"].get("op_name", "?"), types
        fastest[key] = min(fastest.get(key, float("inf")), event["dur"] / 1e3)
    return summed(fastest)


def advise(baseline: Profile, candidate: Profile) -> list[str]:
    lines = []
    if candidate.share("ConvInteger") >= WORTH_SAYING:
        lines.append(
            f"dynamic quantization of Conv runs as ConvInteger, {candidate.share('ConvInteger'):.0%} of the "
            "time, slower than float Conv: use `quantize: static`"
        )
    links, share = candidate.count(*LINKS), candidate.share(*LINKS)
    if links > 2 and share >= WORTH_SAYING:
        lines.append(
            f"{links} QuantizeLinear and DequantizeLinear are not fused into their neighbours, {share:.0%} "
            "of the time: quantize the operators between them too, or leave their layers in float"
        )
    if (share := candidate.share("DynamicQuantizeLinear")) >= WORTH_SAYING:
        lines.append(f"finding activation ranges at run time takes {share:.0%}: use `quantize: static`")
    if platform.machine().lower() in ("x86_64", "amd64") and _signed(candidate) >= WORTH_SAYING:
        lines.append(
            f"int8 activations take {_signed(candidate):.0%} of the time on x86, whose kernels multiply "
            "uint8 by int8: use activations QUInt8 and weights QInt8"
        )
    if (share := candidate.share("Cast")) >= WORTH_SAYING and candidate.count("Cast") > baseline.count(
        "Cast"
    ):
        lines.append(
            f"casts take {share:.0%}: this processor computes in float32, so float16 saves only bytes"
        )
    if (share := candidate.share("MatMulNBits")) >= WORTH_SAYING:
        lines.append(f"MatMulNBits takes {share:.0%}: only `accuracy_level: 4` has fast kernels on the CPU")
    return lines + float_left(candidate, HEAVY) + same_work(baseline, candidate, tuple(HEAVY))


def _signed(profile: Profile) -> float:
    """The share of the time in quantized products whose activation, the first input, is int8."""
    products = ("QLinearConv", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat")
    slow = sum(row.ms for row in profile.operators if row.operator in products and row.types[:1] == ("int8",))
    return slow / profile.ms if profile.ms else 0.0


PROFILERS.add("onnxruntime", Profiler(run, advise))
