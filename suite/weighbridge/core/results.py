"""What a run leaves behind: plain, frozen data that crosses process borders and becomes `reports/latest.json`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from weighbridge.core.layer_errors import LayerErrors, read_layer_errors


class Status(StrEnum):
    """What became of a case or a threshold. A skipped gate never looks like a passed one."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    SKIP = "skip"
    XFAIL = "xfail"
    UNMEASURED = "unmeasured"
    """Of a case: none of its thresholds was decided, as without `--bench` where all are about speed."""


MOST, KEPT = 20_000, 2_000
"""Characters of one text that are kept, and how many of them are its end."""


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
    unit: str | None = None
    """Where it is not the threshold's own: an error such as mse is no fraction."""
    advice: tuple[str, ...] = ()
    """What is to be done in the light of this limit, whether it is met or not."""


@dataclass(frozen=True)
class Verdict:
    """A threshold, judged. `limit` is what the case states, by name: `{"max": 0.01, "confidence": 0.9}`.

    `line` and `column` are the threshold's place in the case file; of an error, the line that could not be
    carried out.
    """

    threshold: str
    status: Status
    limit: Mapping[str, Any] = field(default_factory=dict)
    measured: float | None = None
    interval: tuple[float, float] | None = None
    confidence: float | None = None
    sure: float | None = None
    margin: float | None = None
    unit: str = ""
    advice: tuple[str, ...] = ()
    message: str = ""
    line: int = 1
    column: int = 1


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

    @property
    def in_order(self) -> tuple[Path, ...]:
        """All files, the one that an engine opens first, as an `ArtifactRecord` has them."""
        return (self.path, *(path for path in self.files if path != self.path))


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
    """A step that was carried out, or read from the store: what it is, its cost, and what it changed."""

    key: str
    """Its name in the registry, `quantize:static@onnxruntime`."""
    step: str
    """As the case file writes it, `quantize: static`."""
    options: Mapping[str, Any]
    seconds: float
    before: Census
    after: Census
    notes: tuple[str, ...] = ()
    cached: bool = False
    coverage: Mapping[str, Any] | None = None
    """Of a quantize step: `Coverage.to_json()`, what became of each layer."""


@dataclass(frozen=True)
class FileRecord:
    """A file that would ship."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ArtifactRecord:
    """What of an artifact stands in the row: its format, every file of it, and what its answers come of beside these."""

    format: str
    files: tuple[FileRecord, ...]
    code: str = ""
    """A hash of the project's code that builds the module which the files fill, or that runs them; empty without such."""
    runtime: str = ""
    """The packages of its engine, `onnxruntime 1.23.2`."""
    manifest: str = ""
    """The SHA-256 of the manifest that was written beside it; empty without one."""

    @property
    def path(self) -> str:
        """The file that an engine opens."""
        return self.files[0].path


@dataclass(frozen=True)
class CaseResult:
    """What became of a case: one row of the report contract."""

    case: str
    """The node id, `cases/digits/cnn.yaml::int8`."""
    name: str
    path: str
    line: int
    status: Status
    stage: str = "done"
    """The stage that failed, or `done`."""
    message: str = ""
    seconds: float = 0.0
    key: str | None = None
    """What the candidate is called in the store: the same key, the same artifact."""
    engine: str | None = None
    inputs: str = "none"
    """`data`, `random` where the samples were made up, or `none`."""
    steps: tuple[StepRecord, ...] = ()
    artifacts: Mapping[str, ArtifactRecord | None] = field(default_factory=dict)
    """`baseline` and `candidate`."""
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    layer_errors: LayerErrors | None = None
    """Where a threshold on the outputs was missed, and its layers could be told apart."""
    notes: tuple[str, ...] = ()
    against: Mapping[str, Any] | None = None
    """How it differs from an earlier run, where one was named."""
    machine_class: str | None = None
    """What carried it out, where that is another machine than the one that reports it."""
    unasked: tuple[str, ...] = ()
    """Thresholds and round trips of the case that this run was not to judge, as with `-k`."""

    def row(self) -> dict[str, Any]:
        """As JSON data."""
        row: dict[str, Any] = to_json(self, cut)
        row["artifacts"] = {side: row["artifacts"].get(side) for side in ("baseline", "candidate")}
        for measurement in row["measurements"].values():
            del measurement["name"]
        if row["machine_class"] is None:
            del row["machine_class"]
        if not row["unasked"]:
            del row["unasked"]
        return row

    def verdict(self, threshold: str) -> Verdict | None:
        return next((one for one in self.verdicts if one.threshold == threshold), None)


def read_result(row: Mapping[str, Any]) -> CaseResult:
    """The result that gave `row`. What was not finite comes back as NaN."""

    def artifact(data: Mapping[str, Any] | None) -> ArtifactRecord | None:
        if data is None:
            return None
        return ArtifactRecord(**{**data, "files": tuple(FileRecord(**one) for one in data["files"])})

    def step(data: Mapping[str, Any]) -> StepRecord:
        before, after = Census(**data["before"]), Census(**data["after"])
        return StepRecord(**{**data, "before": before, "after": after, "notes": tuple(data["notes"])})

    def measurement(name: str, data: Mapping[str, Any]) -> Measurement:
        candidate = math.nan if data["candidate"] is None else data["candidate"]
        return Measurement(name, data["unit"], candidate, data["baseline"], data["details"])

    def verdict(data: Mapping[str, Any]) -> Verdict:
        interval = data["interval"] and ends(data["interval"])
        status, advice = Status(data["status"]), tuple(data["advice"])
        return Verdict(**{**data, "status": status, "interval": interval, "advice": advice})

    errors = row.get("layer_errors")
    return CaseResult(
        **{
            **row,
            "status": Status(row["status"]),
            "steps": tuple(step(one) for one in row["steps"]),
            "artifacts": {side: artifact(data) for side, data in row["artifacts"].items()},
            "measurements": {name: measurement(name, data) for name, data in row["measurements"].items()},
            "verdicts": tuple(verdict(one) for one in row["verdicts"]),
            "layer_errors": errors and read_layer_errors(errors),
            "notes": tuple(row["notes"]),
            "unasked": tuple(row.get("unasked", ())),
        }
    )


def ends(interval: Sequence[float | None]) -> tuple[float, float]:
    """The ends of an interval as JSON has it, where what is not finite is None: of few observations nothing bounds it."""
    low, high = interval
    return -math.inf if low is None else low, math.inf if high is None else high


def cut(text: str) -> str:
    """`text` without its middle where it is longer than anything that was written to be read."""
    if len(text) <= MOST:
        return text
    return f"{text[: MOST - KEPT]} [{len(text) - MOST:,} characters more] {text[-KEPT:]}"


def to_json(value: Any, text: Callable[[str], str] = str) -> Any:
    """`value` (these dataclasses and numpy's scalars included) as JSON-ready data: what is not finite becomes None.

    `text` is what is done to every text in it.
    """
    if hasattr(value, "__dataclass_fields__"):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {text(str(key)): to_json(item, text) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item, text) for item in value]
    if isinstance(value, Path | str):
        return text(str(value))
    if type(value).__module__ == "numpy":
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
