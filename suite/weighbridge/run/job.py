"""What a driver is handed: a plan, what the case is called, and what holds for the whole run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from weighbridge.case.model import Case, Limits, ThresholdRef
from weighbridge.case.steps import promising
from weighbridge.contracts import THRESHOLDS, Limit
from weighbridge.core.past import Reference, reference_from_json, reference_to_json
from weighbridge.core.registry import Origin
from weighbridge.core.results import CaseResult, Status, Verdict
from weighbridge.run.plan import Plan
from weighbridge.run.wire import plan_from_json, plan_to_json

SHOWN = ""
_PATHS = ("root", "store", "artifacts", "clock")


@dataclass(frozen=True)
class RunOptions:
    """What holds for every case of a run. Paths are absolute."""

    root: Path
    """The project: its files are the code that a result depends on."""
    store: Path
    beyond: str = ""
    """The address of what several machines keep, in front of which `store` stands; empty where there is none."""
    clock: Path | None = None
    """A folder of the machine alone, where `store` is one of several machines: in it the processes of one take turns."""
    speed_resource: str = ""
    """What nodes of a cluster offer that may time models; empty where all may."""
    artifacts: Path | None = None
    """Where the artifacts are laid out for people, a folder a case; None leaves them in the store."""
    before: float = 0.0
    """Results older than this time, in seconds since 1970, are made anew."""
    bench: bool = True
    bench_priority: bool = True
    """Whether what is timed goes before other programs, where the system allows it."""
    strict_requirements: bool = False
    expect_failures: bool = True
    """False judges as if no case stated `xfail`."""
    hypothesis_profile: str = "default"
    limits: Limits = field(default_factory=Limits)
    """Of a case that states none itself."""
    seek_layers: Literal["missed", "always", "never"] = "missed"
    """When the layers that lost most of the output are looked for, which may take a minute a case: by default where a
    threshold on the outputs was missed, and what could be done about it is tried then. `always` is of the layers alone."""
    confidence: float | None = None
    """How sure a verdict must be where its limit does not say so itself; None asks for nothing more than it did."""


@dataclass(frozen=True)
class Job:
    """One case to carry out, measure and judge."""

    case: str
    """Its node id."""
    path: str
    """Its file, as it is shown."""
    plan: Plan
    options: RunOptions
    origins: tuple[Origin, ...] = ()
    """The modules that extended Weighbridge, which a worker imports first."""
    earlier: Mapping[str, Reference] = field(default_factory=dict)
    """The earlier runs that its limits name, by that name; under `SHOWN` the one that the row is compared with."""

    @property
    def thresholds(self) -> tuple[ThresholdRef, ...]:
        """The case's thresholds, with the run's confidence where they state none."""
        return tuple(
            replace(ref, limit=ref.limit.demanding(self.options.confidence))
            for ref in self.plan.case.thresholds
        )

    @property
    def limits(self) -> Limits:
        own, common = self.plan.case.limits, self.options.limits
        return Limits(own.time or common.time, own.memory or common.memory)


def job_to_json(job: Job) -> dict[str, Any]:
    options = {**vars(job.options), "limits": vars(job.options.limits)}
    for name in _PATHS:
        options[name] = options[name] and str(options[name])
    return {
        "case": job.case,
        "path": job.path,
        "plan": plan_to_json(job.plan),
        "options": options,
        "origins": [vars(origin) for origin in job.origins],
        "earlier": {name: reference_to_json(one) for name, one in job.earlier.items()},
    }


def job_from_json(data: Mapping[str, Any]) -> Job:
    """The job; raises `UsageError` where its plan names what is not registered here."""
    options = dict(data["options"])
    for name in _PATHS:
        options[name] = options[name] and Path(options[name])
    options["limits"] = Limits(**options["limits"])
    origins = tuple(Origin(**origin) for origin in data["origins"])
    earlier = {name: reference_from_json(one) for name, one in data["earlier"].items()}
    plan = plan_from_json(data["plan"])
    return Job(data["case"], data["path"], plan, RunOptions(**options), origins, earlier)


def unjudged(job: Job, status: Status, stage: str, message: str, line: int | None = None) -> CaseResult:
    """The result of a case that came to no verdict: every threshold has the same status and message.

    `line` is where the case file says what could not be carried out.
    """
    case = job.plan.case
    verdicts = tuple(
        blank_verdict(case, name, status, message, None if status is Status.SKIP else line)
        for name in job.plan.wanted
    )
    return CaseResult(job.case, case.name, job.path, case.line, status, stage, message, verdicts=verdicts)


def blank_verdict(case: Case, name: str, status: Status, message: str, line: int | None = None) -> Verdict:
    """The verdict on a threshold or round trip that was not judged."""
    place = {name: (Limit(), ref.line, 1) for name, ref in promising(case.recipe).items()}
    place |= {ref.name: (ref.limit, ref.line, ref.column) for ref in case.thresholds}
    limit, own_line, column = place.get(name, (Limit(), case.line, 1))
    return Verdict(
        name,
        status,
        stated(limit),
        unit=THRESHOLDS.get(name).unit if name in THRESHOLDS else "",
        message=message,
        line=line or own_line,
        column=1 if line else column,
    )


def stated(limit: Limit) -> dict[str, Any]:
    """What a case says of a limit, without the defaults that it leaves as they are."""
    return {
        key: value
        for key, value in limit.model_dump(mode="json", exclude_unset=True).items()
        if value is not None
    }
