"""What `try` and `init` share: the arguments that name a model and its data, and the trials of its recipes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.cli.verbs import add_executor, say

if TYPE_CHECKING:
    from weighbridge.case.scaffold import Subject
    from weighbridge.propose.trials import Trial

STORE = Path(".weighbridge")


def add_subject(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("model", help="a model file, or file.py:callable that builds a torch module")
    verb.add_argument(
        "--weights", metavar="FILE", help="the checkpoint of file.py:callable (safetensors, or tensors only)"
    )
    verb.add_argument(
        "--data",
        metavar="DATA",
        help="an .npz (keys x and y, or test_x, test_y, calibration_x, ...), or file.py:callable that gives the splits",
    )
    verb.add_argument(
        "--metric",
        default="accuracy",
        help="a metric of `weighbridge list`, file.py:function, '{torchmetrics: NAME, ...}' as in a case file, or none for "
        "samples without labels (default: accuracy)",
    )
    verb.add_argument(
        "--max-drop",
        type=float,
        default=0.01,
        metavar="DROP",
        help="how much a recipe may lose to be recommended: 0.01 is one point (default)",
    )
    add_executor(verb)


def subject_of(arguments: argparse.Namespace) -> Subject:
    """The model and data that were named, looked at; raises `UsageError`."""
    from weighbridge.case.scaffold import NO_METRIC, Subject
    from weighbridge.contracts import METRICS
    from weighbridge.core.errors import UsageError, did_you_mean
    from weighbridge.run.import_paths import add_import_paths

    if not 0 < arguments.max_drop < 1:
        hint = f"; did you mean {arguments.max_drop / 100:g}?" if arguments.max_drop >= 1 else ""
        raise UsageError(f"--max-drop is a fraction such as 0.01, not {arguments.max_drop:g}{hint}")
    metric = _metric_of(arguments.metric)
    if isinstance(metric, str) and metric != NO_METRIC and ":" not in metric and metric not in METRICS:
        hint = did_you_mean(metric, [*METRICS.names(), NO_METRIC])
        raise UsageError(
            f"--metric: unknown metric '{metric}'{hint}; or file.py:function, or one of torchmetrics, "
            "'{torchmetrics: MulticlassF1Score, num_classes: 10}'"
        )
    add_import_paths(Path.cwd())
    subject = Subject(arguments.model, arguments.weights, arguments.data, metric)
    subject.check()
    return subject


def _metric_of(stated: str) -> str | dict[str, Any]:
    """A name, a reference, or the mapping that a case file has for torchmetrics; raises `UsageError`."""
    import yaml

    from weighbridge.core.errors import UsageError, first_line
    from weighbridge.measure.by_torchmetrics import faults_of

    if not stated.startswith("{"):
        return stated
    try:
        metric: dict[str, Any] = yaml.safe_load(stated)
    except yaml.YAMLError as error:
        raise UsageError(f"--metric: {stated} is no YAML: {first_line(error)}") from None
    if faults := faults_of(metric):
        raise UsageError(f"--metric: {'; '.join(message for _, message in faults)}")
    return metric


def trials_of(arguments: argparse.Namespace, subject: Subject, bench: bool, also: list[str]) -> list[Trial]:
    """The standard recipes, carried out. Raises `UsageError` with the reason where none of them came to numbers."""
    from weighbridge.case.load import load_cases
    from weighbridge.core.errors import UsageError
    from weighbridge.propose.front import weigh
    from weighbridge.propose.trials import CASES, original_of, try_recipes
    from weighbridge.run.job import RunOptions
    from weighbridge.run.several import carry_out

    root = Path.cwd()
    options = RunOptions(root=root, store=root / STORE, bench=bench, seek_layers="never")
    folder = STORE / "try" / subject.name
    trials = try_recipes(subject, folder, arguments.max_drop, options, say, arguments.executor, also)
    say("")
    if not weigh(trials):
        reason = _one_reason(trials, subject)
        if not reason:
            case = load_cases(folder / CASES)[0]
            (original,) = carry_out(
                [original_of(case)], replace(options, bench=False), say, arguments.executor
            )
            reason = (
                f"the model itself cannot be run: {original.message}" if original.message else _each(trials)
            )
        raise UsageError(_as_named(reason, subject, folder))
    for text in _undirected(trials):
        print(f"note: {_as_named(text, subject, folder)}")
    return trials


def _undirected(trials: Sequence[Trial]) -> list[str]:
    """A sentence where nothing tells whether what was measured is a score or an error, which would be called a gain."""
    from weighbridge.measure.direction import tell_direction

    measured = [trial.result.measurements.get("accuracy") for trial in trials]
    return next((list(tell_direction(one)) for one in measured if one is not None), [])


def _as_named(text: str, subject: Subject, folder: Path) -> str:
    """A sentence of a case in `folder` with the files as the command line has them."""
    seen = subject.seen_from(folder)
    text = text.replace(f"{folder}/{seen.model}", subject.model)
    for theirs, own in ((seen.data, subject.data), (seen.metric, subject.metric)):
        if isinstance(theirs, str) and isinstance(own, str) and theirs != own:
            text = text.replace(theirs, own).replace(
                theirs.rpartition(":")[0] or theirs, own.rpartition(":")[0] or own
            )
    return text


def _one_reason(trials: list[Trial], subject: Subject) -> str:
    """What kept all recipes from being carried out: the data, or what one stage says of all of them; empty where neither is."""
    reasons = [str(trial.trouble) for trial in trials]
    of_data = [reason for reason in reasons if reason.startswith("data:")]
    if of_data and len(of_data) < len(reasons):
        return of_data[0]
    if len({reason.partition(":")[0] for reason in reasons}) == 1:
        unjudged = "size" in trials[0].result.measurements and subject.judges_accuracy
        return reasons[0] + ("; `--metric none` compares outputs only" if unjudged else "")
    return ""


def _each(trials: list[Trial]) -> str:
    told = [f"\n  {trial.result.name}: {trial.trouble}" for trial in trials]
    return f"no standard recipe could be carried out:{''.join(told)}"
