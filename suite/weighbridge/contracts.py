"""What an extension implements: one Protocol or record a kind of thing, and the registry it goes into.

A new pruner, quantizer, engine, metric, model format, measurement, threshold or report is one new file that
calls one of the registries below. A file that registers imports its heavy packages inside its functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from weighbridge.core.arrays import Array as Array
from weighbridge.core.arrays import Inputs as Inputs
from weighbridge.core.registry import Registry
from weighbridge.core.results import Artifact, Measurement, Reading
from weighbridge.core.stored import Quantization as Quantization
from weighbridge.core.stored import Role as Role
from weighbridge.core.stored import Use as Use

if TYPE_CHECKING:
    from weighbridge.core.data import Data


class Options(BaseModel):
    """Base of every options schema: nothing is coerced, unknown keys and NaN are faults."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Requirement:
    """Something that must be present before a case can run: `kind` is `package`, `isa`, `path` or `engine`."""

    kind: str
    name: str
    install: str = ""
    """The command that provides it, as the user would type it."""
    version: str = ""
    """Of a package: the least version that will do."""


# --------------------------------------------------------------------------------------------------- models


@dataclass(frozen=True)
class Model:
    """A model in memory, as it passes from step to step. Steps return a new one and leave this one alone.

    `value` is what the format says: an `nn.Module`, an `ExportedProgram`, an `onnx.ModelProto`, TFLite bytes.
    `source` is plain data that a format needs to open a saved artifact again.
    """

    format: str
    value: Any
    source: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredTensor:
    """A weight as the artifact stores it. `array` holds codes when `quantization` is set, values otherwise.

    Packed formats are unpacked: int4 codes come as int8, one a number. `stored_bytes` is what the file spends.
    """

    name: str
    array: Array
    dtype: str
    stored_bytes: int
    quantization: Quantization | None = None
    layer: str = ""
    operator: str = ""
    use: Use = field(default_factory=Use)
    unread: str = ""
    """Why it is not known what these numbers stand for. Whoever counts weights raises this, so that no count is too small."""

    @property
    def is_matrix(self) -> bool:
        """Whether its zeros and bits are judged: weights of two or more dimensions. Biases stay dense and wide by design."""
        return self.array.ndim >= 2 and self.use.role != "bias"

    def values(self) -> Array:
        """The numbers the model computes with: dequantized, in float."""
        from weighbridge.numerics.codes import dequantize_stored

        return dequantize_stored(self)

    def nonzero(self) -> int:
        """How many of them are not zero: a code equal to its zero point is a zero."""
        from weighbridge.numerics.codes import count_nonzero

        return count_nonzero(self)


class Format(Protocol):
    """What a model can be, and the file it ships as."""

    @property
    def name(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    @property
    def engine(self) -> str:
        """The engine that serves this format unless the case names another."""
        ...

    @property
    def requires(self) -> tuple[Requirement, ...]: ...

    def load(self, reference: str, weights: Path | None, folder: Path) -> Model:
        """The model a case names. `reference` is a file or `module:callable`, relative to `folder`."""
        ...

    def save(self, model: Model, folder: Path, stem: str) -> Artifact:
        """Write the files that would ship."""
        ...

    def open(self, artifact: Artifact) -> Model:
        """Read an artifact back, trusting nothing but its files (and for torch, the user's own code)."""
        ...

    def tensors(self, model: Model) -> Iterator[StoredTensor]:
        """Every stored weight, each once: floats and quantized integers. Scales, zero points, shapes and indices are none."""
        ...

    def operators(self, model: Model) -> Mapping[str, int]:
        """How often each operator (or layer type) occurs."""
        ...

    def inputs(self, model: Model) -> tuple[Mapping[str, tuple[int, ...]] | None, Mapping[str, str]]:
        """Shape of one sample (without the batch axis) and dtype by input name; (None, {}) where the model does not say."""
        ...


FORMATS: Registry[Format] = Registry("model format")


@dataclass(frozen=True)
class Converter:
    """A way from one format to another. `convert` raises `StageError` where it cannot."""

    source: str
    target: str
    convert: Callable[[Model, Context], Model]
    requires: tuple[Requirement, ...] = ()


CONVERTERS: Registry[Converter] = Registry("conversion")


# -------------------------------------------------------------------------------------------------- engines


class Session(Protocol):
    """An artifact opened by an engine."""

    def run(self, inputs: Inputs) -> tuple[Array, ...]:
        """The outputs for one batch, as float (or integer) arrays of shape [N, ...]."""
        ...

    def bind(self, inputs: Inputs) -> Callable[[], object]:
        """A call without arguments that runs this batch once: what the speed measurement times."""
        ...


class EngineOptions(Options):
    """Options that every engine takes. One thread unless the case says otherwise: see ARCHITECTURE.md."""

    threads: int = 1


class Engine(Protocol):
    """What runs an artifact."""

    @property
    def name(self) -> str: ...

    @property
    def formats(self) -> tuple[str, ...]: ...

    @property
    def options(self) -> type[EngineOptions]: ...

    @property
    def requires(self) -> tuple[Requirement, ...]: ...

    def open(self, artifact: Artifact, options: Any) -> Session: ...


ENGINES: Registry[Engine] = Registry("engine")
NO_ENGINE = "none"
"""The engine of a format that holds tensors only: nothing can run it."""


# ---------------------------------------------------------------------------------------------------- steps


@dataclass(frozen=True)
class Context:
    """What a step may read beside its input and its options."""

    folder: Path
    workdir: Path
    seed: int
    data: Data
    say: Callable[[str], None] = lambda text: None
    """Progress for a person: one short line."""


@dataclass(frozen=True)
class Step:
    """One method of one kind of step: `prune: l1_unstructured`, `quantize: static` for ONNX Runtime.

    `apply` is a pure function of its model, options and the context's data and seed. `must` names what the
    census has to show afterwards; a step that changes nothing is an error.
    """

    kind: str
    method: str
    accepts: tuple[str, ...]
    options: type[Options]
    apply: Callable[[Model, Any, Context], Model]
    engine: str | None = None
    returns: str | None = None
    must: Literal["sparsify", "quantize", "change"] = "change"
    splits: tuple[str, ...] = ()
    requires: tuple[Requirement, ...] = ()
    restructures: bool = False
    """Whether the step changes the layers of a torch module, so that opening its checkpoint repeats it."""
    scheme: Callable[[Any], Mapping[str, Any]] | None = None
    """For a quantizer: what its options promise about the weights (bits, per_channel, symmetric)."""

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.method}" + (f"@{self.engine}" if self.engine else "")


STEPS: Registry[Step] = Registry("step")


# ----------------------------------------------------------------------------------- measurements, thresholds


@dataclass(frozen=True)
class Weighing:
    """The two artifacts on the scales. `baseline` is None when a release is judged by absolute budgets."""

    candidate: Artifact
    baseline: Artifact | None
    engine: Engine
    engine_options: Any
    data: Data
    metric: Metric | None
    folder: Path
    allow_chance: bool = False
    limits: Sequence[Limit] = ()
    """The limits that will be judged on this measurement: a sequential measurement stops when they are."""
    baseline_engine: Engine | None = None
    """The engine of the baseline, where it is not the candidate's."""
    say: Callable[[str], None] = lambda text: None
    keep: Callable[[str, Sequence[float]], None] = lambda side, seconds: None
    """Takes the raw timings of `baseline` or `candidate`, seconds a call, for pytest-benchmark's statistics."""
    original: Callable[[Sequence[str], Path], Artifact] | None = None
    """The original in one of these formats, written under a folder: a baseline for another engine."""

    def sessions(self) -> tuple[Session | None, Session]:
        """Baseline and candidate, opened afresh."""
        engine = self.baseline_engine or self.engine
        options = (
            self.engine_options
            if engine is self.engine
            else engine.options(threads=self.engine_options.threads)
        )
        baseline = engine.open(self.baseline, options) if self.baseline else None
        return baseline, self.engine.open(self.candidate, self.engine_options)


class Limit(Options):
    """A threshold as the case states it. At least one of `min`, `max`, `equals`."""

    min: float | None = None
    max: float | None = None
    equals: float | None = None
    confidence: float | None = None
    """Given: the interval at this confidence must clear the limit, not only the point estimate."""

    def __str__(self) -> str:
        parts = [
            f"{sign} {value:.6g}"
            for sign, value in ((">=", self.min), ("<=", self.max), ("==", self.equals))
            if value is not None
        ]
        return " and ".join(parts)


@dataclass(frozen=True)
class Measure:
    """A quantity that can be measured. `bench` ones run only with `--bench`, one at a time."""

    name: str
    run: Callable[[Weighing], Measurement]
    needs: tuple[Literal["baseline", "data", "metric", "inputs"], ...] = ()
    bench: bool = False
    on_demand: bool = False
    """Taken only where a threshold asks for it: it runs the model in ways that nobody may have meant."""


MEASURES: Registry[Measure] = Registry("measurement")


@dataclass(frozen=True)
class Threshold:
    """A name a case can put a limit on. `side` is what a bare number means: at most, or at least.

    `decide` is `point` where the verdict is the measured number's and the interval is reported beside it (the
    test set is given), `interval` where the number itself is noise and the interval must clear the limit.
    """

    name: str
    measure: str
    side: Literal["max", "min"]
    unit: str
    read: Callable[[Measurement, Limit], Reading]
    doc: str
    decide: Literal["point", "interval"] = "point"
    options: type[Limit] = Limit
    relative: bool = False
    """Whether it compares with a baseline, so that a case with neither recipe nor candidate cannot use it."""
    advise: Callable[[Measurement], Sequence[str]] | None = None
    formats: tuple[str, ...] = ()
    """The model formats that have this quantity; empty means all. Stated for another, it is a fault of the file."""


THRESHOLDS: Registry[Threshold] = Registry("threshold")


# -------------------------------------------------------------------------------------------------- metrics


class Metric(Protocol):
    """How good the outputs are."""

    @property
    def name(self) -> str: ...

    @property
    def higher_is_better(self) -> bool: ...

    @property
    def binary(self) -> bool:
        """Whether each sample is right or wrong, so that McNemar's pairing applies."""
        ...

    def per_sample(self, outputs: tuple[Array, ...], targets: Array) -> Array | None:
        """A score a sample, shape [N], whose mean is the metric; None when it does not decompose."""
        ...

    def whole(self, outputs: tuple[Array, ...], targets: Array) -> float: ...

    def chance(self, targets: Array) -> float | None:
        """The score of a model that ignores its input (the majority class), or None where unknown."""
        ...


METRICS: Registry[Metric] = Registry("metric")


# -------------------------------------------------------------------------------------------------- reports


class Report(Protocol):
    """A way to show a run. `render` takes the report contract (see design: `schema`, `rows`, ...)."""

    @property
    def name(self) -> str: ...

    @property
    def suffix(self) -> str: ...

    def render(self, report: Mapping[str, Any]) -> str: ...


REPORTS: Registry[Report] = Registry("report")
