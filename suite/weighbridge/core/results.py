"""What a run leaves behind: plain, frozen data that crosses process borders and becomes `reports/latest.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

SCHEMA = 1


class Status(StrEnum):
    """What became of a case or a threshold. A skipped gate never looks like a passed one."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    SKIP = "skip"
    XFAIL = "xfail"


@dataclass(frozen=True)
class Measurement:
    """One quantity of the baseline and of the candidate, in `unit`.

    `details` holds JSON values only: whatever a threshold needs to judge and a report to explain.
    """

    name: str
    unit: str
    candidate: float
    baseline: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """The number that a threshold compares with its limit, with its uncertainty.

    `interval` is two-sided at `confidence`; `sure` is the confidence, in [0, 1], that the true value is on the
    same side of the limit as `value` (1.0 where the quantity is counted, not sampled).
    """

    value: float
    interval: tuple[float, float] | None = None
    confidence: float | None = None
    sure: float | None = None
    note: str = ""
    """What the number alone does not say: which operators are not allowed, which layer is too coarse."""


@dataclass(frozen=True)
class Verdict:
    """A threshold, judged. `limit` is written as the case means it, for example `<= 0.01`."""

    threshold: str
    status: Status
    limit: str
    measured: float | None = None
    interval: tuple[float, float] | None = None
    confidence: float | None = None
    sure: float | None = None
    margin: float | None = None
    unit: str = ""
    advice: tuple[str, ...] = ()
    message: str = ""


@dataclass(frozen=True)
class Artifact:
    """The files that would ship, closed. `path` is the one an engine opens; `files` are all of them.

    `source` is plain data: what the format needs beside the file to open it again (for a torch module, the
    callable that builds it and the steps that change its structure).
    """

    format: str
    path: Path
    files: tuple[Path, ...]
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Census:
    """What stands in a model, counted: the evidence that a step did something."""

    parameters: int
    nonzero: int
    quantized: int
    """Number of weight tensors that are stored quantized."""
    stored_bytes: int
    digest: str
    """Of every weight's bytes, so that training is seen too."""
    operators: Mapping[str, int] = field(default_factory=dict)
    saved_bits: int = 0
    """Bits a weight below 32, over the tensors that are stored quantized: int8 from float16 counts too."""


@dataclass(frozen=True)
class StepRecord:
    """A step that was carried out: its name, its options, its cost, and what it changed."""

    step: str
    seconds: float
    before: Census
    after: Census
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What running a plan gave: artifacts on disk and measurements, or the stage that failed and why."""

    case: str
    status: Status
    stage: str = "done"
    message: str = ""
    seconds: float = 0.0
    baseline: Artifact | None = None
    candidate: Artifact | None = None
    steps: tuple[StepRecord, ...] = ()
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    """Why a measurement could not be taken, by its name: it concerns the thresholds that read it and no others."""


def to_json(value: Any) -> Any:
    """`value` (these dataclasses included) as JSON-ready data: what is not finite becomes None."""
    if hasattr(value, "__dataclass_fields__"):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
