"""`weighbridge search`: a recipe within a case's limits, as small or as fast as trials find one."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.cli.proposing import STORE
from weighbridge.cli.verbs import add_executor, add_verb, case_of, say

if TYPE_CHECKING:
    from weighbridge.propose.search import Search
    from weighbridge.propose.winner import Verified

_EXAMPLES = (
    "examples: weighbridge search cases/net.yaml --budget 10m -o cases/best.yaml; "
    "weighbridge search cases/net.yaml::int8 --minimize size --minimize latency"
)


def register(verbs: Any) -> None:
    text = "search for a recipe that meets a case's limits and is as small or as fast as possible; goes on where it ended"
    verb = add_verb(verbs, "search", run, text, _EXAMPLES)
    verb.add_argument("case", help="a case file, or FILE::NAME: its model, data, metric and thresholds")
    verb.add_argument(
        "--minimize",
        action="append",
        choices=["size", "latency"],
        help="bytes, or the time of a call (default: size); both, where it is given twice",
    )
    verb.add_argument(
        "--budget", default="10m", metavar="TIME", help="of trials: 90s, 10m, 2h (default: 10m)"
    )
    verb.add_argument("--trials", type=int, metavar="N", help="at most so many more trials")
    verb.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write the best as a case with the same limits"
    )
    add_executor(verb)


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0; 1 where no trial meets the limits; 2 for wrong use, or without Optuna."""
    from weighbridge.cli.writing import refuse_there, write_new
    from weighbridge.core.errors import UsageError
    from weighbridge.core.options import confidence_of
    from weighbridge.core.units import parse
    from weighbridge.environment.pytest_settings import pytest_settings
    from weighbridge.propose.front import show_front
    from weighbridge.propose.search import OBJECTIVES
    from weighbridge.propose.setting_out import search_of
    from weighbridge.propose.told import counted, trials_table
    from weighbridge.propose.winner import weighed_of
    from weighbridge.report.escape import terminal
    from weighbridge.run.job import RunOptions

    try:
        budget = parse(arguments.budget, "s")
    except ValueError as error:
        raise UsageError(f"--budget: {error}") from None
    if budget <= 0 or (arguments.trials is not None and arguments.trials < 1):
        raise UsageError("--budget and --trials are above zero")
    refuse_there(arguments.output)
    minimize = tuple(one for one in OBJECTIVES if one in (arguments.minimize or ["size"]))
    case = case_of(arguments.case, recipe=False)
    root = Path.cwd()
    confidence = confidence_of(pytest_settings(root))  # what pytest will ask of the winner
    options = RunOptions(root=root, store=root / STORE, seek_layers="never", confidence=confidence)
    with search_of(case, minimize, options, arguments.executor, say) as search:
        began, before = time.monotonic(), len(list(search.study.tried()))
        if before:
            print(f"goes on after {before} trials of earlier calls")
        for line in (*search.tuning.notes, *(f"left out: {text}" for text in search.space.absent)):
            print(terminal(f"note: {line}"))
        search.run(budget, arguments.trials)
        say("")
        if search.tried:
            print(terminal(trials_table(search.tried), lines=True) + "\n")
        if weighed := weighed_of(search.tried):
            print(terminal(show_front(weighed), lines=True) + "\n")
        print(terminal(counted(search, before, time.monotonic() - began)))
        found = _verified(search)
        if found is None:
            if arguments.output is not None:
                print(f"{arguments.output} was not written")
            return 1
        above = [_command(arguments, case.name), f"{search.tuning}; {len(search.tried)} trials"]
        folder = arguments.output.parent if arguments.output else case.folder
        text = search.text(found.tried.recipe, folder, above)
        if arguments.output is None:
            print("\n" + "".join(f"    {line}\n" for line in text.splitlines()))
            print("-o FILE writes it as a case; so it stands beside the one that was searched for")
        else:
            write_new({arguments.output: text})
            print(f"wrote {arguments.output}; next: pytest {arguments.output} --bench")
    return 0


def _verified(search: Search) -> Verified | None:
    """The winner, told; None, with the reason told, where there is none."""
    from weighbridge.core.results import Status
    from weighbridge.propose.front import in_words
    from weighbridge.propose.told import judged, out_of_reach
    from weighbridge.propose.winner import in_order, verify, weighed_of
    from weighbridge.report.escape import terminal

    ordered, near = in_order(weighed_of(search.tried), search.minimize)
    if not ordered:
        for line in out_of_reach(search.tried, search.minimize):
            print(terminal(line))
        return None
    if near:
        print(near)
    looks = verify(search, ordered)
    say("")
    for look in looks:
        name = look.weighed.trial.result.name
        if look.passed:
            print(terminal(f"best: {name}, {in_words(look.weighed)}"))
            before = f", after {len(looks) - 1} that did not" if len(looks) > 1 else ""
            seen = ", on which it was chosen" if search.tuning.why_test else before
            print(terminal(f"holds on the test split{seen}: {judged(look)}"))
            return look
        failed = any(one.status is Status.FAIL for one in look.result.verdicts) or look.result.message
        what = "does not hold" if failed else "is not sure to hold"
        print(terminal(f"{name} {what} on the test split: {judged(look)}"))
    print(
        f"none of the {len(looks)} that were looked at holds on the test split; to look at more would be to choose on it"
    )
    return None


def _command(arguments: argparse.Namespace, name: str) -> str:
    case = arguments.case if "::" in arguments.case else f"{arguments.case}::{name}"
    goals = " ".join(f"--minimize {one}" for one in arguments.minimize or ["size"])
    return f"found by: weighbridge search {case} {goals}"
