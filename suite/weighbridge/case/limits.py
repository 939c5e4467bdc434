"""The thresholds of a case: what they say, and what they cannot do without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from weighbridge.case.check import Faulter, check
from weighbridge.case.model import ModelRef, ThresholdRef
from weighbridge.case.text import KeyPath, Mark
from weighbridge.contracts import (
    ENGINES,
    FORMATS,
    MEASURES,
    METRICS,
    THRESHOLDS,
    Classifier,
    Limit,
    Metric,
    Threshold,
)
from weighbridge.core.errors import did_you_mean
from weighbridge.core.options import check_confidence
from weighbridge.core.units import parse


def read_thresholds(
    data: Any, key_mark: Callable[[KeyPath], Mark], fault: Faulter
) -> tuple[ThresholdRef, ...]:
    """The `thresholds` of a case; `key_mark` gives line and column of a key."""
    if not isinstance(data, dict):
        return ()
    if not data:
        fault(
            ("thresholds",),
            f"no threshold, so nothing would be judged (valid: {', '.join(sorted(THRESHOLDS.names()))})",
        )
    refs = []
    for name, value in data.items():
        where: KeyPath = ("thresholds", name)
        if name not in THRESHOLDS:
            fault(where, f"unknown threshold '{name}'{did_you_mean(name, THRESHOLDS.names())}", key=True)
        elif (limit := _limit(THRESHOLDS.get(name), value, where, fault)) is not None:
            refs.append(ThresholdRef(name, limit, *key_mark(where)))
    return tuple(refs)


def _limit(threshold: Threshold, value: Any, where: KeyPath, fault: Faulter) -> Limit | None:
    if value is None or isinstance(value, list | bool):
        shown = "nothing" if value is None else repr(value)
        fault(
            where,
            f"{'.'.join(map(str, where))}: a number or a mapping such as {{{threshold.side}: 1}}, not {shown}",
        )
        return None
    numbers = dict(value) if isinstance(value, dict) else {threshold.side: value}
    for key, item in numbers.items():
        if isinstance(item, str) and key in ("min", "max", "equals"):
            try:
                numbers[key] = parse(item, threshold.unit)
            except ValueError as error:
                fault((*where, key), f"{'.'.join(map(str, where))}: {error}")
                return None
    limit: Limit | None = check(threshold.options, numbers, where, fault)
    if limit is not None:
        _consistent(limit, threshold, where, fault)
    return limit


def _consistent(limit: Limit, threshold: Threshold, where: KeyPath, fault: Faulter) -> None:
    fields = type(limit).model_fields
    bounds = {name for name in ("min", "max", "equals") if getattr(limit, name) is not None}
    bare = set(fields) <= set(Limit.model_fields) or getattr(limit, "against", None) is not None
    if not bounds and bare:
        fault(where, f"{where[1]} states no limit; give {threshold.side}, or equals")
    if limit.min is not None and limit.max is not None and limit.min > limit.max:
        fault(where, f"{where[1]}: min {limit.min:g} is above max {limit.max:g}, so nothing could pass")
    if limit.equals is not None and len(bounds) > 1:
        fault(where, f"{where[1]}: `equals` stands alone, without min and max")
    if limit.confidence is None:
        return
    try:
        check_confidence(limit.confidence)
    except ValueError as error:
        fault((*where, "confidence"), f"{where[1]}.confidence {error}")
    if threshold.unit in ("bytes", "count"):
        fault(
            (*where, "confidence"),
            f"'{threshold.name}' is counted, not sampled, so it has no confidence",
            key=True,
        )


def known_metric(stated: str | Mapping[str, Any] | None) -> Metric | None:
    """The registered metric that a case names; None for one of the user's or of torchmetrics, of which nothing is known."""
    name = "accuracy" if stated is None else stated
    return METRICS.get(name) if isinstance(name, str) and name in METRICS else None


def check_possible(
    refs: tuple[ThresholdRef, ...],
    fault: Faulter,
    *,
    source: str,
    finished: ModelRef | None,
    compares: bool,
    data: bool,
    inputs: bool,
    metric: Metric | None,
) -> None:
    """What a threshold cannot do without: data, something to run on, a second model, and a limit that can be missed.

    `source` is the original's format, `finished` the artifact where it is weighed as it is; `compares` tells
    whether there is a second model, `data` and `inputs` whether the case gives them, `metric` is the
    case's where it is registered, None for a user's own.
    """
    for ref in refs:
        threshold, where = THRESHOLDS.get(ref.name), ("thresholds", ref.name)
        needs = MEASURES.get(threshold.measure).needs
        if threshold.mistaken and ((metric and metric.binary) or "metric" not in needs):
            mistake = threshold.mistaken(ref.limit)
            if mistake is not None:
                fault(where, f"thresholds.{ref.name}: {mistake}")
        if finished and not _has(threshold, needs, finished, fault):
            continue
        if ("data" in needs or "metric" in needs) and not data:
            fault(where, f"'{ref.name}' needs `data` with a test split", key=True)
        elif "inputs" in needs and not (data or inputs or FORMATS.get(source).declares_inputs):
            fault(where, f"'{ref.name}' needs samples to run the model on; give `data` or `inputs`", key=True)
        if threshold.classes and not isinstance(metric, Classifier):
            known = ", ".join(sorted(one.name for one in METRICS if isinstance(one, Classifier)))
            fault(
                where,
                f"'{ref.name}' needs a metric that gives each sample one class: {known}",
                key=True,
            )
        held_to_earlier = ref.limit.earlier and "baseline" not in needs
        if threshold.relative and not compares and not held_to_earlier:
            fault(
                where,
                f"'{ref.name}' compares two models; give a `recipe` or a `candidate`, or an absolute budget"
                f"{_or_earlier(threshold, needs)}",
                key=True,
            )


def _or_earlier(threshold: Threshold, needs: tuple[str, ...]) -> str:
    return ", or `against` an earlier run" if threshold.since and "baseline" not in needs else ""


def _has(threshold: Threshold, needs: tuple[str, ...], ref: ModelRef, fault: Faulter) -> bool:
    """A finished file is known before it is opened, so what it cannot have is said when the limit is read."""
    where, what = ("thresholds", threshold.name), f"{PurePath(ref.reference).name} is {ref.format}"
    if threshold.formats and ref.format not in threshold.formats:
        kinds = f"{', '.join(threshold.formats[:-1])} or {threshold.formats[-1]}".removeprefix(" or ")
        fault(where, f"'{threshold.name}' is a quantity of {kinds} models; {what}", key=True)
        return False
    if not ENGINES.get(FORMATS.get(ref.format).engine).runs and {"data", "metric", "inputs"} & set(needs):
        fault(
            where, f"'{threshold.name}' needs a model that runs; {what}, which holds tensors only", key=True
        )
        return False
    return True
