"""Why is it slow: operators by time in baseline and candidate, from the engine's own profile, and what to do.

An engine that can profile adds a `Profiler` under its name; every other engine is explained by nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weighbridge.contracts import Inputs, Weighing
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.registry import Registry
from weighbridge.core.results import Artifact
from weighbridge.environment.requirements import INT8_DOT_PRODUCT, isa

SHOWN = 8
WORTH_SAYING = 0.1
"""Of the time: what takes less is not why a model is slow."""


@dataclass(frozen=True)
class OperatorTime:
    """One kind of operator in one run: how often it occurs, its milliseconds, and the types it reads."""

    operator: str
    count: int
    ms: float
    types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """One warm run of a model, by kind of operator; `masks` counts the pruning masks that it applies."""

    operators: tuple[OperatorTime, ...]
    masks: int = 0

    @property
    def ms(self) -> float:
        return sum(row.ms for row in self.operators)

    def share(self, *names: str) -> float:
        """The share of the time that operators with these names take, in [0, 1]."""
        return sum(row.ms for row in self.operators if row.operator in names) / self.ms if self.ms else 0.0

    def count(self, *names: str) -> int:
        return sum(row.count for row in self.operators if row.operator in names)

    def rows(self) -> list[list[Any]]:
        """[operator, count, ms, share] by time, the longest first; JSON values."""
        ranked = sorted(self.operators, key=lambda row: -row.ms)[:SHOWN]
        return [[row.operator, row.count, round(row.ms, 6), round(row.ms / self.ms, 4)] for row in ranked]


def summed(nodes: Mapping[tuple[str, str, tuple[str, ...]], float]) -> Profile:
    """A profile of the milliseconds of each node, which goes by its name, its operator and the types that it reads."""
    grouped: dict[tuple[str, tuple[str, ...]], list[float]] = defaultdict(list)
    for (_, operator, types), ms in nodes.items():
        grouped[operator, types].append(ms)
    return Profile(
        tuple(OperatorTime(name, len(times), sum(times), types) for (name, types), times in grouped.items())
    )


@dataclass(frozen=True)
class Profiler:
    """How an engine's profile is taken and read."""

    run: Callable[[Artifact, Any, Inputs], Profile]
    """Artifact, engine options, one batch -> the time of one warm run."""
    advise: Callable[[Profile, Profile], Sequence[str]]
    """Baseline, candidate -> one line for each thing found."""


PROFILERS: Registry[Profiler] = Registry("profiler")


def explain(weighing: Weighing, inputs: Inputs) -> dict[str, Any]:
    """`{baseline, candidate, advice}` for a report, JSON values; empty where the engine has no profile."""
    engine, reference = weighing.engine, weighing.baseline_engine or weighing.engine
    if engine.name not in PROFILERS or weighing.baseline is None:
        return {}
    profiler = PROFILERS.get(engine.name)
    weighing.say("speed: profiling, to say where the time goes")
    try:
        candidate = profiler.run(weighing.candidate, weighing.engine_options, inputs)
        if reference.name == engine.name:
            baseline = profiler.run(weighing.baseline, weighing.engine_options, inputs)
        else:
            baseline = Profile(())
    except WeighbridgeError as error:
        return {"advice": [f"no profile: {error}"]}
    return {
        "baseline": baseline.rows(),
        "candidate": candidate.rows(),
        "advice": [
            f"the time goes to {_top(candidate)}" + (f"; before, to {_top(baseline)}" if baseline.ms else ""),
            *profiler.advise(baseline, candidate),
            *no_int8_hardware(candidate),
        ],
    }


def _top(profile: Profile) -> str:
    return ", ".join(f"{name} x {count} ({share:.0%})" for name, count, _, share in profile.rows()[:3])


def no_int8_hardware(candidate: Profile) -> list[str]:
    """int8 needs instructions that multiply it: without them it is about as fast as float."""
    if INT8_DOT_PRODUCT & isa() or not any(
        "int8" in kind for row in candidate.operators for kind in row.types
    ):
        return []
    return ["this processor has no int8 dot product (VNNI, AMX, dotprod): int8 gains little speed here"]


def float_left(candidate: Profile, heavy: Mapping[str, Sequence[str]]) -> list[str]:
    """Operators that still run in float although others are quantized. `heavy` is name -> quantized names."""
    if not any(candidate.count(*quantized) for quantized in heavy.values()):
        return []
    return [
        f"{candidate.count(name)} {name} still run in float, {candidate.share(name):.0%} of the time: "
        "quantize them too, unless accuracy forbids it"
        for name in heavy
        if candidate.share(name) >= WORTH_SAYING
    ]


def same_work(baseline: Profile, candidate: Profile, heavy: Sequence[str]) -> list[str]:
    """The candidate does what the baseline does: zeros in a dense kernel are multiplied like any number."""
    counts = {row.operator: row.count for row in candidate.operators}
    if not counts or counts != {row.operator: row.count for row in baseline.operators}:
        return []
    if candidate.ms < 0.8 * baseline.ms or not any(name in counts for name in heavy):
        return []
    return [
        "the candidate runs the same float operators as the baseline: zeros in dense weights make nothing "
        "faster; remove whole channels (structured pruning), or quantize"
    ]
