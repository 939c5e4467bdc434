"""What `try` and `init` share: the arguments that name a model and its data, and the trials of its recipes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

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
        help="a metric of `weighbridge list`, file.py:function, or none for samples without labels (default: accuracy)",
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
    metric = arguments.metric
    if metric != NO_METRIC and ":" not in metric and metric not in METRICS:
        raise UsageError(
            f"--metric: unknown metric '{metric}'{did_you_mean(metric, [*METRICS.names(), NO_METRIC])}"
        )
    add_import_paths(Path.cwd())
    subject = Subject(arguments.model, arguments.weights, arguments.data, metric)
    subject.check()
    return subject


def trials_of(arguments: argparse.Namespace, subject: Subject, bench: bool, also: list[str]) -> list[Trial]:
    """The standard recipes, carried out. Raises `UsageError` with the reason where none of them came to numbers."""
    from weighbridge.core.errors import UsageError
    from weighbridge.propose.front import weigh
    from weighbridge.propose.trials import try_recipes
    from weighbridge.run.job import RunOptions

    root = Path.cwd()
    options = RunOptions(root=root, store=root / STORE, bench=bench, seek_layers="never")
    folder = STORE / "try" / subject.name
    trials = try_recipes(subject, folder, arguments.max_drop, options, say, arguments.executor, also)
    say("")
    if not weigh(trials):
        raise UsageError(
            _first_reason(trials, subject).replace(
                f"{folder}/{subject.seen_from(folder).model}", subject.model
            )
        )
    return trials


def _first_reason(trials: list[Trial], subject: Subject) -> str:
    """What kept the recipes from being carried out: once where the same stage failed for all, as of a file that is no model."""
    reasons = [str(trial.trouble) for trial in trials]
    if len({reason.partition(":")[0] for reason in reasons}) == 1:
        unjudged = "size" in trials[0].result.measurements and subject.judges_accuracy
        return reasons[0] + ("; `--metric none` compares outputs only" if unjudged else "")
    told = [f"\n  {trial.result.name}: {trial.trouble}" for trial in trials]
    return f"no standard recipe could be carried out:{''.join(told)}"
