"""Which way a metric is better: by an error that counts as a score, a ruined model looks like a good one.

A function of the user's that does not say it is taken as a score, which is right for nearly all. Where its name says
otherwise, or where the verdict would be another one if it were an error, somebody is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.contracts import Limit, Metric
from weighbridge.core.errors import StageError
from weighbridge.core.results import Measurement
from weighbridge.measure.accuracy_known import Known, known_drop

ERROR = re.compile(
    "(log)?loss|err|errors?|n?r?mse|n?mae|s?mape|pinball|nll|bce|(cross)?entropy|perplexity|ppl|[wct]er|distance|residual"
)
SCORE = re.compile(
    "acc|accuracy|scores?|f|f?beta|precision|prec|recall|sensitivity|specificity|tpr|tnr|m?iou|io|jaccard|dice|"
    "(au)?roc|auc|aucs|auroc|auprc|m?ap|mar|r|mcc|kappa|qwk|corr|correlation|pearson|spearman|kendall|psnr|ssim|bleu|chrf|"
    "rouge|meteor|bertscore|em|exact|match(es)?|hits?|top|ndcg|mrr|agree(s|ment)?|same|similarity|cosine|correct|right|"
    "snr|pesq|stoi|(log)?likelihood|purity|silhouette|reward|utility|pck|gini|explained"
)
TURNED = re.compile("neg(ative|ated)?|minus|inverse|inverted|free")
"""A word in a metric's name that tells of an error or a loss, of a score, and one that says it was turned round.

Of `meanIoU` the words are mean, io and u.
"""
LIKELIHOOD = re.compile("(log)?lik(elihood)?")
"""The one score that is called by another name for an error when it is turned round; `negative_recall` is of a class."""
PLAIN = 0.999
"""How sure a gain must be before it is asked whether it can be true."""


def directed(metric: Metric) -> bool:
    """Whether somebody said which way the metric is better; every metric of a registry does."""
    return bool(getattr(metric, "directed", True))


def sign(metric: Metric) -> float:
    """What a difference of two figures is multiplied by, so that more is better."""
    return 1.0 if metric.higher_is_better else -1.0


def tell_direction(measurement: Measurement) -> Iterator[str]:
    """A sentence where nothing tells which way the metric is better, and no verdict hangs on it yet."""
    name = measurement.details["metric"]
    if not measurement.details.get("directed", True) and _untold(name, measurement.candidate):
        yield (
            f"{name} is taken as better the higher it is, since neither it nor its name says so; give the function the "
            "attribute `higher_is_better = False` if it is an error or a loss, and `= True` if not"
        )


def check_drop(details: Mapping[str, Any], drop: Known, limit: Limit, before: float, after: float) -> None:
    """A `StageError` where nobody said which way the metric is better, and it is called an error, or is no known score
    and has grown by more than it may fall: as an error it would miss the limit that it meets as a score.

    A score that gains beyond belief may be an error too, whatever it is called.
    """
    if details.get("directed", True):
        return
    _check_name(details["metric"], after)
    grown = limit.max is not None and -drop.value > limit.max and _untold(details["metric"], after)
    if after > before and (grown or _beyond_belief(drop, before, after)):
        raise _asked(details["metric"], _went(before, after))


def check_floor(measurement: Measurement) -> None:
    """The same of a floor, which an error meets the easier the larger it is: one that has grown for sure is asked about."""
    details, before, after = measurement.details, measurement.baseline, measurement.candidate
    if details.get("directed", True):
        return
    _check_name(details["metric"], after)
    if before is None or after <= before:
        return
    drop = known_drop(details)
    grown = drop.at_most(0.0) >= PLAIN and _untold(details["metric"], after)
    if grown or _beyond_belief(drop, before, after):
        raise _asked(details["metric"], _went(before, after))


def _check_name(name: str, after: float) -> None:
    if after > 0 and _says(LIKELIHOOD if _says(TURNED, name) else ERROR, name):
        raise _asked(name, "is called an error or a loss")


def _untold(name: str, after: float) -> bool:
    """Whether nothing tells a score; what is below zero is an error that somebody has turned round."""
    return after > 0 and not _says(SCORE, name) and not _says(TURNED, name)


def _beyond_belief(drop: Known, before: float, after: float) -> bool:
    return drop.at_most(0.0) >= PLAIN and after - before > abs(before) / 2


def _went(before: float, after: float) -> str:
    return f"went from {before:.4g} to {after:.4g}, which counts as a gain"


def _asked(name: str, why: str) -> StageError:
    return StageError(
        "measure",
        f"metric {name} {why}, and does not say which way is better; give the function the attribute "
        "`higher_is_better = False` if this is an error or a loss, and `= True` if more is better",
    )


def _says(what: re.Pattern[str], name: str) -> bool:
    """By the words of the function's own name, such as `test_loss` or `RootMeanSquaredError`."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name.rpartition(":")[2])
    return any(what.fullmatch(one.lower()) for one in words)
