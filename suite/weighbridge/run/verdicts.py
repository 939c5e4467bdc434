"""Every threshold and round trip of a case -> verdicts. Skip, xfail and failed measurements are settled here, once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from weighbridge.contracts import MEASURES, THRESHOLDS
from weighbridge.core.errors import StageError
from weighbridge.core.results import Measurement, Status, Verdict
from weighbridge.run.draws import worst_of
from weighbridge.run.job import Job, blank_verdict
from weighbridge.run.judge import judge
from weighbridge.run.since import Since

_SEVERITY = (Status.ERROR, Status.FAIL, Status.INCONCLUSIVE, Status.XFAIL, Status.PASS)


def judge_all(
    job: Job,
    measurements: Mapping[str, Sequence[Measurement]],
    failed: Mapping[str, str],
    round_trips: Mapping[str, Verdict],
    since: Since,
) -> tuple[Verdict, ...]:
    """A verdict for everything that the plan wants judged, in the order of the file.

    `measurements` are those of every draw of `repeat`, of which the worst counts; `failed` tells why a measurement could
    not be taken, `round_trips` has the verdicts on quantize steps, `since` knows the earlier runs.
    """
    case = job.plan.case
    found = []
    for name in job.plan.wanted:
        verdict = round_trips.get(name) or _judge_threshold(job, name, measurements, failed, since)
        found.append(_expected(verdict, case.xfail) if job.options.expect_failures else verdict)
    if job.options.strict_requirements and overall(found) is Status.UNMEASURED:
        found = [_undecided(verdict) for verdict in found]
    return tuple(sorted(found, key=lambda verdict: (verdict.line, verdict.column)))


def overall(verdicts: Iterable[Verdict]) -> Status:
    """The status of a case: the worst of its verdicts.

    It is `unmeasured` where no threshold was decided, though one was to be: that a quantize step kept its promise is
    no verdict on what the case is held to.
    """
    listed = list(verdicts)
    found = {verdict.status for verdict in listed}
    stated = {verdict.status for verdict in listed if verdict.threshold in THRESHOLDS}
    if stated == {Status.SKIP} and found <= {Status.SKIP, Status.PASS}:
        return Status.UNMEASURED
    return next((status for status in _SEVERITY if status in found), Status.UNMEASURED)


def _undecided(verdict: Verdict) -> Verdict:
    """Of a case in which nothing was decided, where that is an error and no pass."""
    if verdict.status is not Status.SKIP:
        return verdict
    return replace(
        verdict, status=Status.ERROR, message=f"nothing of the case was decided: {verdict.message}"
    )


def _judge_threshold(
    job: Job,
    name: str,
    measurements: Mapping[str, Sequence[Measurement]],
    failed: Mapping[str, str],
    since: Since,
) -> Verdict:
    case = job.plan.case
    measure = THRESHOLDS.get(name).measure
    if measure in failed:
        return blank_verdict(case, name, Status.ERROR, failed[measure])
    if measure in measurements:
        return worst_of([judge_threshold(job, name, one, since) for one in measurements[measure]])
    if MEASURES.get(measure).bench and not job.options.bench:
        return blank_verdict(case, name, Status.SKIP, f"{name} is measured with --bench only")
    why = f"measure: '{name}' needs samples to run the model on; give `data` or `inputs`"
    return blank_verdict(case, name, Status.ERROR, why)


def judge_threshold(job: Job, name: str, measurement: Measurement, since: Since) -> Verdict:
    """The verdict of one measurement on the threshold `name`, as the case and the run state it."""
    ref = next(ref for ref in job.thresholds if ref.name == name)
    try:
        return since.verdict(ref, measurement) if ref.limit.earlier else judge(ref, measurement)
    except StageError as error:  # what was measured cannot be read so: that concerns this threshold only
        return blank_verdict(job.plan.case, name, Status.ERROR, str(error))


def _expected(verdict: Verdict, reasons: Mapping[str, str]) -> Verdict:
    """The verdict in the light of the case's `xfail`.

    It expects a threshold to be missed: an error stays one. A reason that names its threshold is strict, so that
    a failure that is gone is noticed; a reason for the whole case is not.
    """
    own = reasons.get(verdict.threshold)
    reason = own if own is not None else reasons.get("*")
    if reason is None:
        return verdict
    if verdict.status in (Status.FAIL, Status.INCONCLUSIVE):
        return replace(verdict, status=Status.XFAIL, message=f"{reason} ({verdict.message})")
    if verdict.status is Status.PASS and own is not None:
        message = f"{verdict.threshold} passes, though it is expected to fail: {reason}"
        return replace(verdict, status=Status.FAIL, message=message, advice=("remove its `xfail`",))
    return verdict
