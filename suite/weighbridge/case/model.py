"""`Case`: what a case file says, validated and frozen. Plain data: it crosses process borders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from weighbridge.contracts import FORMATS, Limit, Options, Requirement
from weighbridge.core.units import parse


@dataclass(frozen=True)
class ModelRef:
    """Where a model comes from: a file or `module:callable`, and its checkpoint. `line` is where that is said."""

    format: str
    reference: str
    weights: str | None = None
    line: int = 1


@dataclass(frozen=True)
class StepRef:
    """A step of a recipe, resolved to one registered method. `line` is where it stands."""

    kind: str
    method: str
    engine: str | None
    key: str
    options: Any
    line: int

    def __str__(self) -> str:
        return f"{self.kind}: {self.method}"


@dataclass(frozen=True)
class ThresholdRef:
    """A threshold as stated. `limit` is an instance of the threshold's options."""

    name: str
    limit: Limit
    line: int
    column: int


@dataclass(frozen=True)
class Limits:
    """What a case may take of the machine before it is ended: seconds, and bytes resident in all its processes."""

    time: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Case:
    """One model, one recipe (or finished candidate, or neither), and what it is held to."""

    path: Path
    name: str
    line: int
    model: ModelRef
    thresholds: tuple[ThresholdRef, ...]
    recipe: tuple[StepRef, ...] = ()
    candidate: ModelRef | None = None
    data: str | None = None
    inputs: tuple[tuple[int, ...], ...] | dict[str, tuple[int, ...]] | str | None = None
    """Shapes of one sample by position or by name, or `random`: shapes as the model's file declares them."""
    targets: str | int | tuple[str, ...] | None = None
    groups: str | int | None = None
    """What names the samples that belong together, as `targets` is named."""
    batch: Mapping[str, int | None] = field(default_factory=dict)
    """The batch axis by input name, None for an input without one; axis 0 for what is not named."""
    sequence: bool = False
    metric: str | Mapping[str, Any] | None = None
    """A name or reference, or `{torchmetrics: NAME}` with the metric's options."""
    engine: str | None = None
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    allow_chance: bool = False
    seed: int = 0
    repeat: int = 1
    """How often the recipe is carried out, each time with the next seed; the worst is judged, the first ships."""
    xfail: Mapping[str, str] = field(default_factory=dict)
    """Reason by threshold; the key `*` speaks of all."""
    skip: str | None = None
    marks: tuple[str, ...] = ()
    requires: tuple[Requirement, ...] = ()
    limits: Limits = field(default_factory=Limits)
    trust: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of files that may run code when they are opened, by their names."""
    judged_on: str = "test"
    """The split that it is judged on. No case file states another: a search judges its trials on what the verdict has not."""
    judged_samples: int | None = None
    """About how many of them; None for all."""

    @property
    def folder(self) -> Path:
        return self.path.parent


_NAME = r"^[^\s:/\\\[\]]+$"


def _check_name(name: str) -> str:
    if not re.match(_NAME, name):
        raise ValueError(
            "should have no space and none of : / \\ [ ], which pytest's command line cannot do with"
        )
    if not name.isprintable():
        raise ValueError("should have no control characters, nor others that cannot be seen")
    return name


class RequirementSpec(Options):
    package: str | None = None
    isa: str | None = None
    path: str | None = None
    engine: str | None = None
    install: str = ""


def _quantity(unit: str) -> Any:
    """A field that takes a number in `unit`, or text such as `5m`."""

    def read(value: Any) -> Any:
        return parse(value, unit) if isinstance(value, str) else value

    return BeforeValidator(read, json_schema_input_type=float | str)


class LimitsSpec(Options):
    time: Annotated[float, _quantity("s"), Field(gt=0)] | None = None
    memory: Annotated[float, _quantity("bytes"), Field(gt=0)] | None = None


def _with_format(value: Any) -> Any:
    """A file or a callable alone does not say what it is: the user is told how to."""
    if not isinstance(value, str):
        return value
    kinds = (one.name for one in FORMATS if one.whole_file and Path(value).suffix.lower() in one.suffixes)
    built = "torch" if ":" in value else "onnx"
    raise ValueError(f"should say the format too, as in {{{next(kinds, built)}: {value}}}")


ModelSpec = Annotated[dict[str, Any], BeforeValidator(_with_format)]


class CaseSpec(Options):
    """The keys of a case. `model`, `engine`, `recipe` and `thresholds` are resolved through the registries."""

    name: Annotated[str, AfterValidator(_check_name)] | None = Field(
        None,
        description="What pytest calls the case; the file's stem without one.",
        json_schema_extra={"pattern": _NAME},
    )
    model: ModelSpec = Field(
        description="One of torch, exported, onnx, keras, tflite; for torch also `weights`."
    )
    candidate: ModelSpec | None = Field(None, description="A finished artifact, in place of a recipe.")
    data: str | None = Field(
        None, description="file.py:callable that gives the splits test, calibration, train; or an .npz."
    )
    inputs: list[list[int]] | dict[str, list[int]] | Literal["random"] | None = Field(
        None,
        description="Where there is no data: shapes of one sample, without the batch axis, to draw random ones of; or "
        "`random`, for the shapes that the model's file declares.",
    )
    targets: str | int | list[str] | None = Field(
        None,
        description="The targets' key in a mapping, several keys of a model with several tasks, or their position in a tuple, "
        "counted from 0.",
    )
    groups: str | int | None = Field(
        None,
        description="The key in a mapping or .npz, or the position in a tuple, of what says which samples belong together: "
        "five variants of one photo are no five samples.",
    )
    batch: dict[str, Annotated[int, Field(ge=0)] | None] = Field(
        default_factory=dict,
        description="The batch axis by input name, null for an input without one; 0 for those not named.",
    )
    sequence: bool = Field(
        False,
        description="A sample is a sequence: the model is fed step by step, its state reset between samples.",
    )
    metric: str | dict[str, Any] | None = Field(
        None,
        description="A registered metric, file.py:function(outputs, targets), or {torchmetrics: NAME} with its options.",
    )
    engine: str | dict[str, Any] | None = Field(
        None, description="What serves the artifact; its options beside `name`."
    )
    allow_chance: bool = Field(False, description="Judge even a baseline that is no better than guessing.")
    seed: int = Field(0, ge=0, lt=2**63, description="Of every random choice.")
    repeat: int = Field(
        1,
        ge=1,
        le=100,
        description="Carry the recipe out so often, each time with the next seed: the worst is judged.",
    )
    recipe: list[dict[str, Any]] | None = Field(
        None, description="Steps in order; a step's first key is its kind."
    )
    thresholds: dict[str, Any] = Field(description="What the artifact is held to.")
    target: dict[str, Any] | None = Field(
        None, description="What will serve the artifact, which is held to it as to a threshold."
    )
    xfail: str | dict[str, str] | None = Field(None, description="Reason, or reason by threshold.")
    skip: str | None = Field(None, description="Reason.")
    marks: list[str] = Field(default_factory=list, description="pytest markers.")
    requires: list[dict[str, Any]] = Field(
        default_factory=list, description="What must be present; absent means skipped."
    )
    limits: LimitsSpec | None = Field(
        None, description="What the case may take before it is ended: `time: 5m`, `memory: 4 GB`."
    )
    trust: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(
        default_factory=dict,
        description="Files that may run code when they are opened, by path, with the SHA-256 of what you have looked at.",
    )
