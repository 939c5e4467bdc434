"""The report contract, schema 2: the shape of `latest.json`, which every other report is made from.

The published JSON Schema is made from these models. Within a schema, keys are only added, so unknown ones pass.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema

SCHEMA = 2

Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Line = Annotated[int, Field(ge=1)]
VerdictStatus = Literal["pass", "fail", "inconclusive", "error", "skip", "xfail"]
RowStatus = Literal["pass", "fail", "inconclusive", "error", "skip", "xfail", "unmeasured"]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", defer_build=True)


class Census(_Part):
    """What stands in a model, counted."""

    parameters: Count
    nonzero: Count
    quantized: Count = Field(description="Weight tensors that are stored quantized.")
    stored_bytes: Count
    operators: dict[str, int] = {}


class Step(_Part):
    """A step that was carried out: its options, its cost, and what it changed."""

    key: str = Field(description="The step in the registry, such as `prune:l1_unstructured`.")
    step: str = Field(description="The step as the case file writes it.")
    options: dict[str, Any]
    seconds: Annotated[float, Field(ge=0)]
    cached: bool = Field(description="Whether the result was taken from the store.")
    before: Census | None
    after: Census | None
    notes: list[str]
    coverage: dict[str, Any] | None = Field(
        None,
        description="Of a quantize step: which layers were asked for, convertible, converted, and why not.",
    )


class File(_Part):
    """A file that would ship."""

    path: str
    bytes: Count | None
    sha256: str | None


class Artifact(_Part):
    """What was weighed."""

    format: str
    files: list[File]
    code: str = Field(
        "",
        description="A hash of the project's code that builds the module which the files fill, or that runs them.",
    )
    runtime: str = Field("", description="The packages of its engine, with their versions.")
    manifest: str = Field(
        "", description="The SHA-256 of the manifest beside the files; empty where none was written."
    )


class Artifacts(_Part):
    """Both sides of the scales; null where there was none."""

    baseline: Artifact | None
    candidate: Artifact | None


class Measurement(_Part):
    """One quantity of both models."""

    unit: str = Field(description="bytes, ms, count, fraction, ratio, dB, or empty.")
    baseline: Number | None
    candidate: Number | None
    details: dict[str, Any] = Field(description="What a threshold judged and a report can draw.")


class Limit(_Part):
    """The bounds in the verdict's unit, and the threshold's options; empty where nothing is compared."""

    min: Number | None = None
    max: Number | None = None
    equals: Number | None = None
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None


class Verdict(_Part):
    """A threshold, judged."""

    threshold: str
    limit: Limit
    measured: Number | None
    unit: str = Field(
        description="As a measurement's; `points` is a difference of fractions, 0.01 being one point."
    )
    interval: Annotated[list[Number | None], Field(min_length=2, max_length=2)] | None = Field(
        description="Two-sided, at `confidence`; null for an end that is not finite."
    )
    confidence: Annotated[float, Field(ge=0, le=1)] | None
    sure: Annotated[float, Field(ge=0, le=1)] | None = Field(
        description="How sure it is that the true value lies on the same side of the limit."
    )
    margin: Number | None = Field(description="Distance to the limit, negative where it is missed.")
    status: VerdictStatus
    line: Line | None = Field(description="Where the threshold stands in the case file.")
    column: Line | None
    advice: list[str]
    message: str


class LayerError(_Part):
    """One layer."""

    name: str = Field(description="As `exclude` takes it.")
    kind: str
    sqnr_db: Number = Field(
        description="Signal to noise of the model's output where this layer alone is as the candidate has it."
    )
    place: Count = Field(description="In the model's order.")


class LayerErrors(_Part):
    """Which layers lost the output, over a few samples of the test split; worst first."""

    step: str = Field(description="As the case file writes it; empty of a finished candidate.")
    line: Line
    samples: Count
    inputs: Literal["data", "random"]
    output_db: Number = Field(description="Of the output where all layers are as the candidate has them.")
    layers: list[LayerError]
    complete: bool = Field(description="Whether every layer was looked at.")
    exclude: list[str] = Field(
        description="The step's `exclude` that was tried and gains 6 dB or more; empty where there is none."
    )
    excluded_db: Number | None = Field(description="Of the output with it.")
    before: str = Field(
        "",
        description="A step that was tried in front of this one and gains 6 dB or more, as a recipe has it; empty where there is "
        "none.",
    )
    before_db: Number | None = Field(None, description="Of the output with it.")


class Change(_Part):
    """One quantity, then and now."""

    quantity: str = Field(description="A measurement's name.")
    unit: str
    before: Number
    now: Number
    clear: bool = Field(description="Whether it is more than the uncertainty of both explains.")


class Against(_Part):
    """An earlier run of the same case, and how this one differs."""

    reference: str = Field(description="What was asked for: a branch, a run, a commit or a file.")
    run: str | None = None
    commit: str | None = None
    branch: str | None = None
    created: str | None = None
    why: str = Field("", description="Why nothing, or no speed, could be compared.")
    changes: list[Change]


class Row(_Part):
    """One case. `unmeasured`: no verdict of it was decided."""

    case: str = Field(description="The node id, `path::name`.")
    name: str
    key: str | None = Field(description="The key of the candidate in the store.")
    path: str
    line: Line
    status: RowStatus
    stage: str = Field(description="`done`, or the stage that failed.")
    message: str
    seconds: Annotated[float, Field(ge=0)]
    engine: str | None
    inputs: Literal["data", "random", "none"] = Field(description="What the models were fed.")
    steps: list[Step]
    artifacts: Artifacts
    measurements: dict[str, Measurement]
    verdicts: list[Verdict]
    layer_errors: LayerErrors | None = Field(
        None, description="Where a threshold on the outputs was missed, and its layers could be told apart."
    )
    notes: list[str]
    machine_class: str | None = Field(
        None,
        description="That of the job, or of the node of a cluster, that ran it, where the report is of several.",
    )
    against: Against | None = Field(None, description="Where an earlier run was named to compare with.")
    unasked: list[str] = Field(
        [], description="Thresholds and round trips of the case that the run was not to judge, as with -k."
    )
    left_out: bool = Field(
        False,
        description="Whether layers, classes and samples are left out, so that the report stays below 20 MB.",
    )


class Machine(_Part):
    """What the numbers depend on."""

    cpu: str | None = None
    isa: list[str] = Field([], description="Instruction sets that engines choose kernels by.")
    cores: Line | None = None
    memory_bytes: Count | None = None
    os: str | None = None


class Shard(_Part):
    """What part of the cases this job had."""

    index: Line = Field(description="Counted from 1.")
    of: Line
    places: dict[str, Count] = Field(
        description="The cases that were dealt to it, of which each has a row, and their places among all."
    )
    dealt: str = Field(description="The same in all jobs that dealt the same cases in the same way.")


class Report(_Part):
    """What a run measured and decided."""

    schema_: Literal[2] = Field(alias="schema")
    created: str = Field(description="When the run ended, ISO 8601, UTC.")
    run: str = Field(description="Names this run.")
    commit: str | None = Field(description="The revision of the project's repository.")
    branch: str | None = Field(None, description="The branch that was checked out, or that CI names.")
    dirty: bool | None = Field(None, description="Whether tracked files differ from the commit.")
    machine: Machine
    machine_class: str = Field("", description="What a speed may be compared within; empty where not known.")
    versions: dict[str, str | None]
    options: dict[str, Any] = Field(description="The flags that change what was measured.")
    shard: Shard | None = None
    rows: list[Row]


class _Untitled(GenerateJsonSchema):
    """Without a title for each field, which would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def report_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a report, as published in `assets/report.schema.json`."""
    found = Report.model_json_schema(schema_generator=_Untitled)
    return {"$schema": _Untitled.schema_dialect, **found, "title": f"Weighbridge report, schema {SCHEMA}"}
