"""Whether the runtime and the processor that an artifact will meet can serve it: `target: {isa, runtime, opset, ir}`.

What is held against the target is what the file states and stores; nothing is run.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from weighbridge.contracts import MEASURES, THRESHOLDS, Limit, Measure, Threshold, Weighing
from weighbridge.core.listed import few
from weighbridge.core.results import Measurement, Reading
from weighbridge.environment.requirements import INT8_WIDE_SUMS
from weighbridge.formats.onnx_file import whole
from weighbridge.formats.onnx_weights import graphs
from weighbridge.formats.opened import opened
from weighbridge.measure.onnx_runtimes import LATEST
from weighbridge.steps.quantize.onnx_saturation import overflowing

NAMED = 4
"""So many operators are named; the rest are counted."""
Isa = Literal[
    "sse4_1", "avx", "avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimd", "asimddp", "i8mm"
]


class Target(Limit):
    """What will serve the artifact. Each part that is stated is held against it."""

    max: float | None = 0
    isa: Isa | None = Field(
        None,
        description="The best instruction set of the processor: without VNNI, 8-bit weights may overflow.",
    )
    runtime: str | None = Field(
        None, description="`onnxruntime 1.20`: the highest opset and IR version that it opens."
    )
    opset: int | None = Field(
        None, ge=7, description="The highest opset of ai.onnx, where `runtime` does not say it."
    )
    ir: int | None = Field(None, ge=3, description="The highest IR version, likewise.")

    @field_validator("runtime")
    @classmethod
    def _known(cls, text: str | None) -> str | None:
        if text is not None and _release(text) not in LATEST:
            first, *_, last = LATEST
            raise ValueError(
                f"should be `onnxruntime VERSION`, {first} to {last}; of another runtime state `opset` and `ir`"
            )
        return text

    @model_validator(mode="after")
    def _something(self) -> Target:
        if (self.isa, self.runtime, self.opset, self.ir) == (None, None, None, None):
            raise ValueError("states no target; give one of isa, runtime, opset, ir")
        return self

    def opened(self) -> tuple[int | None, int | None, str]:
        """The highest opset and IR version, and who says so; what is stated itself goes before the runtime's."""
        known: tuple[int | None, int | None] = (
            LATEST[_release(self.runtime)] if self.runtime else (None, None)
        )
        opset, ir = self.opset or known[0], self.ir or known[1]
        return opset, ir, self.runtime or "the target"

    def __str__(self) -> str:
        stated = {"runtime": self.runtime, "isa": self.isa, "opset": self.opset, "ir": self.ir}
        return ", ".join(f"{name} {value}" for name, value in stated.items() if value is not None)


def _release(text: str) -> str:
    """`onnxruntime 1.20.1` -> `1.20`; empty for other words."""
    found = re.fullmatch(r"onnxruntime[ =]+(\d+\.\d+)(?:\.\d+)?", text.strip())
    return found[1] if found else ""


def measure(weighing: Weighing) -> Measurement:
    """The opset, the IR version, what operators are new in which opset, and pairs of weights that could overflow."""
    model = opened(weighing.candidate).value
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    details = {
        "opset": opset,
        "ir": model.ir_version,
        "since": _since(model, opset),
        "overflowing": {name: over for name, (over, _) in overflowing(whole(model)).items() if over},
    }
    return Measurement("target", "count", 0, None, details)


def _since(model: Any, opset: int) -> dict[str, int]:
    """For each of ONNX's own operators in the model, the opset that brought it as it is there."""
    from onnx import defs

    found = {}
    for kind in {
        node.op_type for graph in graphs(model) for node in graph.node if node.domain in ("", "ai.onnx")
    }:
        if defs.has(kind, opset, ""):
            found[kind] = defs.get_schema(kind, opset, "").since_version
    return found


def read(measurement: Measurement, limit: Any) -> Reading:
    """How many of the stated parts do not fit."""
    found = measurement.details
    opset, ir, who = limit.opened()
    said, advice = [], []
    if opset is not None and found["opset"] > opset:
        new = sorted(kind for kind, since in found["since"].items() if since > opset)
        what = f"{few(new, NAMED)} came after it" if new else "no operator needs more"
        said.append(f"opset {found['opset']}, and {who} goes to {opset}: {what}")
        advice.append(
            f"no conversion to opset {opset} has {few(new, NAMED)}: another runtime, or a model without"
            if new
            else f"export with opset {opset}, or convert: onnx.version_converter.convert_version(model, {opset})"
        )
    if ir is not None and found["ir"] > ir:
        said.append(f"IR version {found['ir']}, and {who} goes to {ir}")
        advice.append(f"save the file with IR version {ir}: model.ir_version = {ir}")
    if limit.isa is not None and limit.isa not in INT8_WIDE_SUMS and found["overflowing"]:
        worst = sorted(found["overflowing"], key=lambda name: -found["overflowing"][name])
        pairs = sum(found["overflowing"].values())
        said.append(f"{pairs} pairs of int8 weights could overflow with {limit.isa}, in {few(worst, NAMED)}")
        advice.append("`reduce_range: true` keeps the weights to 7 bits, which every processor sums rightly")
    return Reading(len(said), note="; ".join(said), advice=tuple(advice))


MEASURES.add("target", Measure("target", measure, on_demand=True))
THRESHOLDS.add(
    "target",
    Threshold(
        "target",
        "target",
        "max",
        "count",
        read,
        options=Target,
        formats=("onnx",),
        doc="What does not fit where the artifact will be served; stated as `target: {isa, runtime, opset, ir}`.",
    ),
)
