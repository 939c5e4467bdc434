"""Where OpenVINO's time goes, from its own counters; an operator is told with what it is computed in."""

from __future__ import annotations

from typing import Any

from weighbridge.contracts import Inputs
from weighbridge.core.results import Artifact
from weighbridge.engines.openvino import OpenVinoSession
from weighbridge.engines.profile import PROFILERS, Profile, Profiler, float_left, same_work, summed

RUNS = 10
HEAVY = {
    "Convolution f32": ("Convolution i8",),
    "FullyConnected f32": ("FullyConnected i8", "FullyConnectedQuantizedLegacy i8"),
    "MatMul f32": ("MatMul i8",),
}
_TYPES = {"i8": "int8", "u8": "uint8", "f32": "float32", "bf16": "bfloat16"}


def run(artifact: Artifact, options: Any, inputs: Inputs) -> Profile:
    """The fastest of `RUNS` warm runs of each node, summed by operator and type."""
    session = OpenVinoSession(artifact, options, profiled=True)
    call, fastest = session.bind(inputs), dict[tuple[str, str, tuple[str, ...]], float]()
    for warm in range(RUNS + 1):
        call()
        for node in session.request.get_profiling_info() if warm else ():
            if node.status == node.Status.EXECUTED:
                type_ = node.exec_type.rpartition("_")[2].lower()  # of brgconv_avx512_I8
                key = node.node_name, f"{node.node_type} {type_}", (_TYPES.get(type_, ""),)
                ms = node.real_time.total_seconds() * 1e3
                fastest[key] = min(fastest.get(key, ms), ms)
    return summed(fastest)


def advise(baseline: Profile, candidate: Profile) -> list[str]:
    return float_left(candidate, HEAVY) + same_work(baseline, candidate, tuple(HEAVY))


PROFILERS.add("openvino", Profiler(run, advise))
