"""What an extension implements: one Protocol or record a kind of thing, and the registry it goes into.

A new one is one new file that calls one of the registries below, and imports its heavy packages inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from weighbridge.core.arrays import Array as Array
from weighbridge.core.arrays import Inputs as Inputs
from weighbridge.core.coverage import Coverage
from weighbridge.core.kept import Kept as Kept
from weighbridge.core.options import EngineOptions as EngineOptions
from weighbridge.core.options import Limit as Limit
from weighbridge.core.options import Options as Options
from weighbridge.core.options import RelativeLimit as RelativeLimit
from weighbridge.core.past import Alike as Alike
from weighbridge.core.promise import Promise as Promise
from weighbridge.core.registry import Registry
from weighbridge.core.requirement import Requirement as Requirement
from weighbridge.core.results import Artifact, Measurement, Reading
from weighbridge.core.sessions import Mixed as Mixed
from weighbridge.core.sessions import Session as Session
from weighbridge.core.stored import Quantization as Quantization
from weighbridge.core.stored import Role as Role
from weighbridge.core.stored import StoredTensor as StoredTensor
from weighbridge.core.stored import Use as Use
from weighbridge.core.tally import Additive as Additive
from weighbridge.core.tally import Classifier as Classifier
from weighbridge.core.zero_groups import ZeroGroups as ZeroGroups

if TYPE_CHECKING:
    from weighbridge.core.data import Data
    from weighbridge.core.tally import Tally


# --------------------------------------------------------------------------------------------------- models
@dataclass(frozen=True)
class Model:
    """A model in memory, as it passes from step to step. Steps return a new one and leave this one alone.

    `value` is what the format says: an `nn.Module`, an `ExportedProgram`, an `onnx.ModelProto`, TFLite bytes.
    `source` is plain data that a format needs to open a saved artifact again. A step adds its `notes`, sentences for
    the row, to those it was given; `coverage` is the last quantize step's.
    """

    format: str
    value: Any
    source: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    coverage: Coverage | None = None


Port = dict[str, Any]
"""An input or output of a model: `name`, `dtype`, and `shape`, in which a free axis is its name or '?'."""


class Format(Protocol):
    """What a model can be, and the file it ships as. `formats.base.FormatBase` has the usual answers."""

    @property
    def name(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    @property
    def engine(self) -> str:
        """The engine that serves this format unless the case names another."""

    @property
    def requires(self) -> tuple[Requirement, ...]: ...

    def load(self, reference: str, weights: Path | None, folder: Path) -> Model:
        """The model a case names. `reference` is a file or `module:callable`, relative to `folder`."""

    def save(self, model: Model, folder: Path, stem: str) -> Artifact:
        """Write the files that would ship."""

    def open(self, artifact: Artifact) -> Model:
        """Read an artifact back, trusting nothing but its files (and for torch, the user's own code)."""

    def whole(self, model: Model) -> Model:
        """The model with all its numbers in memory, for a step or a conversion; `open` may leave them in their files."""

    def tensors(self, model: Model) -> Iterator[StoredTensor]:
        """Every stored weight, each once: floats and quantized integers. Scales, zero points, shapes and indices are none."""

    def operators(self, model: Model) -> Mapping[str, int]:
        """How often each operator (or layer type) occurs."""

    def inputs(self, model: Model) -> tuple[Mapping[str, tuple[int, ...]] | None, Mapping[str, str]]:
        """Shape of one sample (without the batch axis) by input name, or None where one is open; dtypes as far as stated."""

    @property
    def declares_inputs(self) -> bool:
        """Whether its files can say what `inputs` gives, so that samples are drawn without `data` or `inputs`."""

    @property
    def whole_file(self) -> bool:
        """Whether its file is the whole model, so that a suffix tells the format. False: `file.py:callable` builds it."""

    marker: str
    """The file that tells a folder to be a model of this format; empty where no folder is one."""

    def recipes(self, data: bool) -> tuple[tuple[str, ...], ...]:
        """What `weighbridge try` tries, a line of YAML an option; `new` suggests the first. None calibrates without `data`."""

    def companions(self, path: Path) -> tuple[Path, ...]:
        """The files beside `path` that the model cannot do without. May raise whatever a damaged file brings about."""

    def opsets(self, model: Model) -> Mapping[str, int]:
        """Version by domain of the operators, where the format has such."""

    def structure(self, model: Model) -> str:
        """What two models of the same operators and weights may differ in, as text, where a model can tell it."""

    def ports(self, model: Model) -> tuple[list[Port], list[Port]]:
        """Inputs and outputs, for `weighbridge inspect`."""

    def check_against(self, candidate: Model, original: Model) -> None:
        """Raise `StageError` where a candidate is at fault in a way that its original, of this format too, shows."""

    def in_training(self, artifact: Artifact) -> Sequence[str]:
        """The operators that compute as in training, such as a dropout that draws, where a file tells."""

    def called_as(self, candidate: Artifact, original: Artifact) -> Artifact:
        """A candidate of this format, with what its engine must know of the original to be given and give the same."""


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
class Engine(Protocol):
    """What runs an artifact. `engines.base.EngineBase` has the usual answers."""

    @property
    def name(self) -> str: ...

    @property
    def formats(self) -> tuple[str, ...]: ...

    @property
    def options(self) -> type[EngineOptions]: ...

    @property
    def requires(self) -> tuple[Requirement, ...]: ...

    @property
    def packages(self) -> tuple[str, ...]:
        """What it imports to open a model: a cold start times these apart from the model's own start."""

    @property
    def runs(self) -> bool:
        """False for the engine of formats that hold tensors only."""

    @property
    def sums_int8_in_pairs(self) -> bool:
        """Whether its kernels for x86 without VNNI add pairs of products in 16 bits, where 8-bit weights overflow."""

    def open(self, artifact: Artifact, options: Any) -> Session: ...

    def untimed(self, artifact: Artifact, options: Any) -> Any:
        """`options` for a session whose calls nobody times: those that take least memory, and give the same outputs."""

    def mixed(self, original: Artifact, candidate: Artifact, options: Any) -> Iterator[Mixed]:
        """`original` with one layer at a time as `candidate` has it: what that layer alone does to the outputs.

        Both are of one format. A session holds until the next is asked for; layers that not both surely have are left out.
        """


ENGINES: Registry[Engine] = Registry("engine")


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
    draw: int = 0
    """Which draw of `repeat` it is; from 1 on, `steps.calibration` takes samples at random instead of the first."""
    metric: Metric | None = None
    limits: Mapping[str, Limit] = field(default_factory=dict)
    """The case's metric and thresholds, for a step with `aims`."""
    original: Model | None = None
    """The model that the recipe begins with, for a step with `compares`. To look at, not to change."""
    progress: Path | None = None
    """A folder that a killed run leaves to the next one of the same stage; it may not be there yet."""


@dataclass(frozen=True)
class Step:
    """One method of one kind of step: `prune: l1_unstructured`, `quantize: static` for ONNX Runtime.

    `apply` is a pure function of its model, options and the context's data and seed. `must` names what the
    census has to show afterwards; a step that changes nothing is an error. A quantizer's `scheme` promises.
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
    rebuild: Callable[[Model, Any, Mapping[str, Any]], Model] | None = None
    """Gives a fresh torch module the layers that the step has put in, from the facts that it remembered (`rebuilt_by`)."""
    scheme: Callable[[Any], Promise] | None = None
    random: bool = True
    """False where neither the seed nor the samples make a difference: all draws of `repeat` share what it makes."""
    zeros: Callable[[Any], ZeroGroups | None] | None = None
    """The groups in which a prune step leaves zeros: held against the model after it, and against what ships."""
    aims: bool = False
    """Whether it works towards the case's thresholds; then they belong to what its result depends on."""
    compares: bool = False
    """Whether it holds the model against the one that the recipe begins with, which every stage's key has in it."""
    opens: bool = False
    """Whether it reads the numbers that a large model keeps in files beside it by itself. All are in memory for the others."""
    default: bool = False
    """Whether it is meant where a recipe states a kind and options, and no method."""
    calibrates: Callable[[Any], bool] | None = None
    """Whether these options have it read its splits, for a step with some that spare them."""

    def reads(self, options: Any) -> tuple[str, ...]:
        return self.splits if self.calibrates is None or self.calibrates(options) else ()

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
    allow_chance: bool = False
    limits: Sequence[Limit] = ()
    """The limits that will be judged on this measurement: a sequential measurement stops when they are."""
    baseline_engine: Engine | None = None
    """The engine of the baseline, where it is not the candidate's."""
    say: Callable[[str], None] = lambda text: None
    keep: Callable[[str, Sequence[float]], None] = lambda side, seconds: None
    """Takes the raw timings of `baseline` or `candidate`, seconds a call, for pytest-benchmark's statistics."""
    original: Callable[[Sequence[str]], Artifact] | None = None
    """The original in one of these formats: a baseline for another engine."""
    kept: Kept | None = None
    """What earlier runs of the same measurement have kept of each side."""
    precedence: bool = True
    """Whether what is timed goes before other programs, where it may."""
    held: dict[str, Session] | None = None
    """Sessions that are opened once a case, for what reads no clock. None: whoever asks opens another."""

    def sessions(self) -> tuple[Session | None, Session]:
        return self.session("baseline") if self.baseline else None, self.session("candidate")

    def session(self, side: str) -> Session:
        """`baseline` or `candidate`, opened afresh unless sessions are held."""
        if self.held is not None and side in self.held:
            return self.held[side]
        engine, artifact, options = self.opening(side)
        if self.held is None:
            return engine.open(artifact, options)
        return self.held.setdefault(side, engine.open(artifact, engine.untimed(artifact, options)))

    def opening(self, side: str) -> tuple[Engine, Artifact, Any]:
        """What opens `baseline` or `candidate`: engine, artifact, and the engine's options."""
        if side == "candidate":
            return self.engine, self.candidate, self.engine_options
        assert self.baseline is not None  # who asks for it needs one
        engine, own = self.baseline_engine or self.engine, self.engine_options
        return engine, self.baseline, own if engine is self.engine else engine.options(threads=own.threads)


@dataclass(frozen=True)
class Measure:
    """A quantity that can be measured. `bench` ones run only with `--bench`, one at a time."""

    name: str
    run: Callable[[Weighing], Measurement]
    needs: tuple[Literal["baseline", "data", "metric", "inputs"], ...] = ()
    bench: bool = False
    on_demand: bool = False
    """Taken only where a threshold or a report asks for it."""


MEASURES: Registry[Measure] = Registry("measurement")


@dataclass(frozen=True)
class Threshold:
    """A name a case can put a limit on. `side` is what a bare number means: at most, or at least.

    `decide` is `point` where the verdict is the measured number's and the interval is reported beside it (the
    test set is given), `interval` where the number itself is noise and the interval must clear the limit, `cautious`
    where it is the worst of many, some by chance: it passes by the number, and fails by the interval.
    """

    name: str
    measure: str
    side: Literal["max", "min"]
    unit: str
    read: Callable[[Measurement, Limit], Reading]
    doc: str
    decide: Literal["point", "interval", "cautious"] = "point"
    options: type[Limit] = Limit
    relative: bool = False
    """Whether it compares with a baseline, so that a case with neither recipe nor candidate cannot use it."""
    classes: bool = False
    """Whether it is about classes, so that the metric must be a `Classifier`."""
    advise: Callable[[Measurement], Sequence[str]] | None = None
    mistaken: Callable[[Limit], str | None] | None = None
    """A sentence where no candidate could miss the limit, or where only a mistake explains it: a fault of the file."""
    too_few: Callable[[Limit, int, str], str | None] | None = None
    """A sentence where a test split of so many `samples` or `groups`, each right or wrong, leaves the limit open."""
    since: Callable[[Measurement, Measurement, Any, Alike], Reading] | None = None
    """The same of now and of an earlier run, whose candidate takes the baseline's place. Raises `Unavailable` where the
    two cannot be compared. A threshold that has it takes a `RelativeLimit`."""
    formats: tuple[str, ...] = ()
    """The model formats that have this quantity; empty means all. Stated for another, it is a fault of the file."""


THRESHOLDS: Registry[Threshold] = Registry("threshold")


# -------------------------------------------------------------------------------------------------- metrics
class Metric(Protocol):
    """How good the outputs are. It may be a `Classifier` or `Additive` too."""

    @property
    def name(self) -> str: ...

    @property
    def higher_is_better(self) -> bool: ...

    @property
    def binary(self) -> bool:
        """Whether each sample is right or wrong, so that McNemar's pairing applies."""

    def per_sample(self, outputs: tuple[Array, ...], targets: Array) -> Array | None:
        """A score a sample, shape [N], whose mean is the metric; None when it does not decompose."""

    def whole(self, outputs: tuple[Array, ...], targets: Array) -> float: ...

    def tally(self) -> Tally:
        """A fresh count of targets, from which the score of guessing is told without holding them all."""


METRICS: Registry[Metric] = Registry("metric")


# -------------------------------------------------------------------------------------------------- reports
class Report(Protocol):
    """A way to show or to keep a run: a sink of the report contract. One text file is a `report.text.TextReport`."""

    @property
    def name(self) -> str: ...

    def write(self, report: Mapping[str, Any], folder: Path, stem: str = "latest") -> list[Path]:
        """Put the report away; gives the files written, under `folder` and named after `stem`. Raises `OSError`."""


REPORTS: Registry[Report] = Registry("report")
