"""The thresholds on accuracy: what was measured, held against a limit, with how sure that is of samples like these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from weighbridge.contracts import THRESHOLDS, Limit, RelativeLimit, Threshold
from weighbridge.core import stats
from weighbridge.core.errors import StageError
from weighbridge.core.results import Measurement, Reading
from weighbridge.core.units import percent, show
from weighbridge.measure import accuracy_since
from weighbridge.measure.accuracy_known import USUAL, Known, known_drop, known_value, reading
from weighbridge.measure.asked_again import tell_otherwise
from weighbridge.measure.classes import tell_flips
from weighbridge.measure.direction import PLAIN, check_drop, check_floor, tell_direction
from weighbridge.measure.mistakes import a_fraction, at_most_one
from weighbridge.measure.one_class import check_classes, tell_one_class

LEAST_OF = 20
"""Of a floor of 1 and less: nobody means one that lets go of nineteen in twenty."""


def read_drop(measurement: Measurement, limit: Limit) -> Reading:
    """The drop, with Tango's interval for paired proportions, or the bootstrap's for other metrics."""
    return _read_drop(known_drop(measurement.details), measurement, limit, None if measurement.unit else "")


def read_relative_drop(measurement: Measurement, limit: Limit) -> Reading:
    """The drop over the baseline's value."""
    base = abs(measurement.baseline or 1.0)
    return _read_drop(known_drop(measurement.details).over(base), measurement, limit, None)


def _read_drop(known: Known, measurement: Measurement, limit: Limit, unit: str | None) -> Reading:
    details, before = measurement.details, measurement.baseline
    check_drop(details, known, limit, 0.0 if before is None else before, measurement.candidate)
    check_classes(details, known.value, limit)
    found = reading(known, limit, measurement.details, unit)
    sure = USUAL if limit.confidence is None else limit.confidence
    advice = list(found.advice)
    if "b" in details and (found.sure or 0.0) < sure:
        text = too_few(
            limit, details.get("groups", details["n"]), "groups" if "groups" in details else "samples"
        )
        advice = [text] if text else advice
    text = _gained(measurement)
    return replace(found, advice=(*_doubts(measurement), *advice, *([text] if text else [])))


def read_accuracy(measurement: Measurement, limit: Limit) -> Reading:
    """The candidate's own value, with its interval.

    A lower bound alone is what a bare number means, so that nobody need have thought of a direction.
    """
    if limit.max is None and limit.equals is None:
        check_floor(measurement)
        _check_scale(measurement, limit)
    check_classes(measurement.details, measurement.candidate, limit)
    unit = None if measurement.unit else ""  # a metric of the user's is in whatever it is in
    found = reading(known_value(measurement), limit, measurement.details, unit)
    return replace(found, advice=(*_doubts(measurement), *found.advice))


def _doubts(measurement: Measurement) -> Iterator[str]:
    """What a limit met may hide: answers that are no numbers, each of which counts as one wrong answer, or are drawn."""
    if broken := measurement.details.get("not_finite"):
        yield f"the candidate's outputs are NaN or infinite on {broken} of {measurement.details['n']} samples"
    yield from tell_one_class(measurement.details)
    yield from tell_otherwise(measurement.details.get("otherwise", ()))


def too_few(limit: Limit, n: int, what: str) -> str | None:
    """A sentence where n samples (or groups) that come out as before leave a limit on a drop open; None where not."""
    confidence = limit.confidence or USUAL
    if limit.max is None or limit.max <= 0 or not n:
        return None
    least = stats.decidable_limit(n, confidence)
    if limit.max >= least:
        return None
    wanted = stats.samples_for_limit(limit.max, confidence)
    return (
        f"a limit of {show(limit.max, 'points')} is below what {n} {what} can decide: where none of them flips, they are "
        f"{percent(confidence)} sure of {show(least, 'points')}; use at least {wanted} {what}"
    )


def _check_scale(measurement: Measurement, limit: Limit) -> None:
    """A floor that is a fraction beside a metric in percent, which a candidate may lose nearly all of: a `StageError`."""
    seen = measurement.candidate if measurement.baseline is None else measurement.baseline
    floor = limit.min or 0.0
    if (
        not measurement.details["higher_is_better"]
        or not 0 < floor <= 1
        or not max(1.0, LEAST_OF * floor) < seen <= 100
    ):
        return
    raise StageError(
        "measure",
        f"metric {measurement.details['metric']} gave {seen:.4g}, of which a floor of {floor:g} is {floor / seen:.1%}: nearly "
        f"all may be lost; if the metric is in percent, say {100 * floor:g}",
    )


def _gained(measurement: Measurement) -> str | None:
    """A sentence where the candidate is so much better than its baseline that the number may be of the wrong thing.

    That is where it is beyond doubt and at least half of what was missing is gone: half of the errors, half of the loss,
    or half as much again of a score without an end. Compressing a model does not do that; training one more may.
    """
    details, before, after = measurement.details, measurement.baseline, measurement.candidate
    if before is None or details["drop"] >= 0 or known_drop(details).at_most(0.0) < PLAIN:
        return None
    ends_at_one = 0.0 <= before <= 1.0 and 0.0 <= after <= 1.0
    if not details["higher_is_better"]:
        beyond = after < before / 2
    elif ends_at_one:
        beyond = 1.0 - after < (1.0 - before) / 2
    else:
        beyond = after - before > abs(before) / 2
    if not beyond:
        return None
    return (
        f"{details['metric']} went from {before:.4g} to {after:.4g}, a gain that compression does not explain: check that "
        "calibration and training saw no test samples, that the baseline has its own weights and preprocessing, and "
        f"that {'more' if details['higher_is_better'] else 'less'} is better; further training may explain it"
    )


def advise(measurement: Measurement) -> Sequence[str]:
    details = measurement.details
    lines = []
    if "b" in details:
        groups = f" in {details['groups']} groups" if "groups" in details else ""
        lines.append(
            f"of {details['n']} samples{groups} {details['b']} became worse and {details['c']} better; this test set can "
            f"detect a drop of {details['detectable']:.2%} and more"
        )
    lines += tell_flips(details)
    lines += tell_direction(measurement)
    return lines


THRESHOLDS.add(
    "accuracy_drop",
    Threshold(
        "accuracy_drop",
        "accuracy",
        "max",
        "points",
        read_drop,
        since=accuracy_since.read_drop,
        options=RelativeLimit,
        mistaken=at_most_one("a drop"),
        too_few=too_few,
        relative=True,
        advise=advise,
        doc="How much worse the metric may become, absolute: 0.01 is one point.",
    ),
)
THRESHOLDS.add(
    "relative_accuracy_drop",
    Threshold(
        "relative_accuracy_drop",
        "accuracy",
        "max",
        "fraction",
        read_relative_drop,
        since=accuracy_since.read_relative_drop,
        options=RelativeLimit,
        mistaken=at_most_one("a relative drop"),
        too_few=too_few,
        relative=True,
        advise=advise,
        doc="How much worse the metric may become, as a fraction of the baseline's.",
    ),
)
THRESHOLDS.add(
    "accuracy",
    Threshold(
        "accuracy",
        "accuracy",
        "min",
        "fraction",
        read_accuracy,
        mistaken=a_fraction("the metric"),
        advise=advise,
        doc="The metric's own value: an absolute floor beside every drop (for an error such as mse, say `max`).",
    ),
)
