"""Which samples a candidate answers differently, and which class loses most: what one mean of all samples hides.

Flips as a measure of a compressed model: Dutta et al. 2024, "Accuracy is not all you need" (NeurIPS).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from weighbridge.contracts import METRICS, THRESHOLDS, Array, Classifier, Limit, Threshold
from weighbridge.core import stats
from weighbridge.core.errors import StageError
from weighbridge.core.results import Measurement, Reading
from weighbridge.measure.evaluation import Evaluation
from weighbridge.measure.mistakes import at_most_one
from weighbridge.measure.one_class import check_classes

LISTED, WORST, SHOWN = 50, 10, 5
"""Flipped samples and classes that stand in a measurement at most, and samples that a sentence names."""


def compared(before: Evaluation | None, after: Evaluation) -> dict[str, Any]:
    """The details `flips` and `classes`, as `flips_of` and `classes_of` give them; empty without classes or baseline."""
    if before is None or before.answers is None or after.answers is None:
        return {}
    assert before.scores is not None  # a metric that has classes gives a score a sample
    assert after.scores is not None
    assert after.labels is not None
    was, now = before.scores == 1, after.scores == 1
    return {
        "flips": flips_of(after.labels, before.answers, after.answers, was, now),
        "classes": classes_of(after.labels, was, now),
    }


def flips_of(labels: Array, before: Array, after: Array, was: Array, now: Array) -> dict[str, Any]:
    """How many samples are answered differently, and the first `LISTED` of them, those that became wrong first.

    All have shape [n]: the class of each sample, the answers of baseline and candidate, and whether each is right. A
    position counts from 0, in the order of the split.
    """
    changed, harmful, helpful = (before != after) | (was != now), was & ~now, ~was & now
    positions = [*np.flatnonzero(harmful), *np.flatnonzero(changed & ~harmful)][:LISTED]
    return {
        "total": int(changed.sum()),
        "harmful": int(harmful.sum()),
        "helpful": int(helpful.sum()),
        "listed": [
            {
                "position": int(at),
                "target": int(labels[at]),
                "before": int(before[at]),
                "after": int(after[at]),
                "harmful": bool(harmful[at]),
            }
            for at in positions
        ],
    }


def classes_of(labels: Array, was: Array, now: Array) -> dict[str, Any]:
    """The `WORST` classes by their drop, and what an interval of the largest drop needs of all of them.

    `counts` holds n, and the samples lost and won, of every class that changed; of those that did not, which differ by
    their n alone, the smallest and the largest.
    """
    names, of = np.unique(labels, return_inverse=True)
    n, right_before, right_after, lost, won = (
        np.bincount(of, weights=each, minlength=len(names)).astype(int)
        for each in (np.ones(len(labels)), was, now, was & ~now, ~was & now)
    )
    drop = (right_before - right_after) / n
    found = [
        {
            "class": int(names[at]),
            "n": int(n[at]),
            "baseline": float(right_before[at] / n[at]),
            "candidate": float(right_after[at] / n[at]),
            "drop": float(drop[at]),
            "interval": stats.tango_interval(int(lost[at]), int(won[at]), int(n[at]), 0.95),
            "lost": int(lost[at]),
            "won": int(won[at]),
        }
        for at in np.lexsort((names, -lost, -drop))[:WORST]
    ]
    still = n[lost + won == 0]
    counts = {(int(a), int(b), int(c)) for a, b, c in zip(n, lost, won, strict=True) if b + c}
    counts |= {(int(size), 0, 0) for size in (still.min(), still.max())} if still.size else set()
    return {"total": len(names), "worst": found, "counts": [list(one) for one in sorted(counts)]}


def tell_flips(details: Mapping[str, Any]) -> Sequence[str]:
    """The advice of a failing accuracy: which samples became wrong, and of which class most of them are."""
    flips, classes = details.get("flips"), details.get("classes")
    if not flips or not classes or not flips["harmful"]:
        return []
    places = [one["position"] for one in flips["listed"] if one["harmful"]]
    shown = ", ".join(map(str, places[:SHOWN])) + (" …" if flips["harmful"] > SHOWN else "")
    most = max(classes["worst"], key=lambda one: one["lost"])
    of_class = f", {most['lost']} of them of class {_tell(most)}" if most["lost"] > 1 else ""
    samples = "sample" if flips["harmful"] == 1 else "samples"
    return [
        f"{flips['harmful']} {samples} flipped from right to wrong{of_class}; in the test split, from 0: {shown}"
    ]


def _tell(one: Mapping[str, Any]) -> str:
    return f"{one['class']} ({one['baseline']:.1%} → {one['candidate']:.1%} of {one['n']} samples)".replace(
        "%", " %"
    )


def read_flip_rate(measurement: Measurement, limit: Limit) -> Reading:
    """The share of samples whose answer differs, with Wilson's interval and the score test that belongs to it."""
    flips, n = _need(measurement, "flips"), measurement.details["n"]
    confidence, share = limit.confidence or 0.95, flips["total"] / n
    check_classes(measurement.details, share, limit)
    other = flips["total"] - flips["harmful"] - flips["helpful"]
    note = (
        f"{flips['harmful']} from right to wrong, {flips['helpful']} from wrong to right, "
        f"{other} from one answer to another that is no better"
    )
    sure = None if limit.max is None else _share_sure(share, n, limit.max)
    interval = stats.wilson_interval(flips["total"], n, confidence)
    return Reading(share, interval, confidence, sure, note)


def _share_sure(share: float, n: int, bound: float) -> float | None:
    """One-sided confidence that the true share is on the side of `bound` on which `share` is; None at 0 and 1."""
    from scipy.special import ndtr

    if not 0 < bound < 1:
        return None
    return float(ndtr(abs(share - bound) / np.sqrt(bound * (1 - bound) / n)))


def read_worst_class_drop(measurement: Measurement, limit: Limit) -> Reading:
    """The largest drop over the classes, with an interval of the largest true drop.

    Low end: the largest of the K classes' low ends, each at 1 - alpha / K (Bonferroni), since the worst is looked for.
    High end: the largest high end, each at 1 - alpha, since all classes must be below it for the largest to be
    (an intersection-union test, Berger 1982, Technometrics 24:295); it needs no correction.
    """
    classes, confidence = _need(measurement, "classes"), limit.confidence or 0.95
    worst, total = classes["worst"][0], classes["total"]
    counts = [(lost, won, n) for n, lost, won in classes["counts"]]
    corrected = 1 - (1 - confidence) / total
    low = max(stats.tango_interval(*each, corrected)[0] for each in counts)
    high = max(stats.tango_interval(*each, confidence)[1] for each in counts)
    sure = None
    if limit.max is not None:
        below = [stats.tango_sure(*each, min(max(limit.max, -0.999), 0.999)) for each in counts]
        sure = min(below) if worst["drop"] <= limit.max else max(0.0, 1 - total * min(below))
    told = worst
    if limit.max is not None and low > limit.max:  # not a class of three samples that leads by chance
        told = max(
            classes["worst"],
            key=lambda one: stats.tango_interval(one["lost"], one["won"], one["n"], corrected)[0],
        )
    won = f" and {told['won']} right" if told["won"] else ""
    note = f"class {_tell(told)}, {told['lost']} became wrong{won}"
    return Reading(worst["drop"], (low, high), confidence, sure, note)


def _need(measurement: Measurement, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] | None = measurement.details.get(name)
    if found is None:
        raise StageError(
            "measure",
            f"metric {measurement.details['metric']} has no classes, so it tells no {name}; these have: "
            f"{', '.join(sorted(metric.name for metric in METRICS if isinstance(metric, Classifier)))}",
        )
    return found


def advise(measurement: Measurement) -> Sequence[str]:
    """Which classes and samples it is, and what would tell more of a class with few samples."""
    worst = [one for one in measurement.details["classes"]["worst"] if one["drop"] > 0]
    lines = []
    if len(worst) > 1:
        lines.append(f"the classes that lost most: {', '.join(_tell(one) for one in worst[:3])}")
    lines += tell_flips(measurement.details)
    if worst and worst[0]["n"] < 30:
        lines.append(
            f"class {worst[0]['class']} has {worst[0]['n']} samples in the test split, each worth "
            f"{1 / worst[0]['n']:.1%}: only more of them can tell a drop from chance"
        )
    return lines


THRESHOLDS.add(
    "flip_rate",
    Threshold(
        "flip_rate",
        "accuracy",
        "max",
        "fraction",
        read_flip_rate,
        mistaken=at_most_one("a share of samples"),
        relative=True,
        classes=True,
        advise=advise,
        doc="The share of samples that the candidate answers differently, for better or worse.",
    ),
)
THRESHOLDS.add(
    "worst_class_drop",
    Threshold(
        "worst_class_drop",
        "accuracy",
        "max",
        "points",
        read_worst_class_drop,
        decide="cautious",
        mistaken=at_most_one("a drop"),
        relative=True,
        classes=True,
        advise=advise,
        doc="The largest drop of any class; `?` where the class has too few samples to tell it from chance.",
    ),
)
