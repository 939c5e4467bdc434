"""`weighbridge init`: from a model file to a gate that runs, with limits measured from the model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.cli.proposing import add_subject, subject_of, trials_of
from weighbridge.cli.verbs import add_verb, say

if TYPE_CHECKING:
    from weighbridge.case.scaffold import Subject
    from weighbridge.propose.front import Weighed
    from weighbridge.propose.written import CaseFile

_EXAMPLES = "example: weighbridge init model.onnx --data samples.npz, then: pytest --bench"


def register(verbs: Any) -> None:
    text = "set a gate up for a model: a case with limits that are measured, a CI workflow, pytest's settings"
    verb = add_verb(verbs, "init", run, text, _EXAMPLES)
    add_subject(verb)
    verb.add_argument("--into", type=Path, metavar="FOLDER", help="the folder of the case (cases/MODEL)")
    verb.add_argument("--no-bench", action="store_true", help="measure no speed, and set no limit on it")
    verb.add_argument("--no-ci", action="store_true", help="write no workflow")


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0; 1 where what was written does not hold; 2 for wrong use, or where nothing can be carried out."""
    from weighbridge.cli.reached import missing_settings, needs_naming
    from weighbridge.cli.writing import refuse_existing, write_new
    from weighbridge.core.errors import UsageError
    from weighbridge.environment.pytest_settings import pytest_settings
    from weighbridge.propose import written
    from weighbridge.propose.front import recommended, second_choice, weigh, why_nothing_holds
    from weighbridge.propose.splits import FILE, splitting, stub
    from weighbridge.propose.trials import CASES
    from weighbridge.report.escape import terminal

    subject = subject_of(arguments)
    folder = arguments.into or Path("cases") / subject.name
    stated = pytest_settings(Path.cwd())
    named = stated is not None and needs_naming(stated, folder / CASES)
    gated = folder / CASES if named else folder.parent if folder.parent.parts else folder
    around = {} if arguments.no_ci else {written.WORKFLOW: written.workflow(gated)}
    if stated is None:
        around[Path("pytest.ini")] = written.settings(folder)
    own = [CASES, *([FILE] if subject.data is None or splitting(subject, folder) else [])]
    refuse_existing({folder / name: "" for name in own}, "choose another folder with --into")
    refuse_existing(around, "leave it out with --no-ci")
    trials = trials_of(arguments, subject, not arguments.no_bench, [])
    weighed = weigh(trials)
    best = recommended(weighed)
    chosen = best or second_choice(weighed)
    if chosen is None:
        raise UsageError(why_nothing_holds(weighed))
    for trial in trials:
        if trial.trouble is not None:
            print(terminal(f"note: {trial.result.name} could not be carried out: {trial.trouble}"))
    if best is None:
        print(f"note: {why_nothing_holds(weighed)}; the case holds it to what it has")
    made = written.case_files(subject, chosen.trial, folder / CASES)
    files = {**made.files, **around}
    if subject.data is None:
        files[folder / FILE] = stub(_inputs(subject))
    write_new(files)
    _tell(files, chosen, made)
    lacking = missing_settings(stated, made.case) if stated is not None else []
    if stated is not None:
        print(_left_alone(lacking))
    green = _check(made.case, arguments.executor)
    if green:
        gate = f"{made.case} " if lacking else ""
        print(f"next: pytest {gate}--bench, then open reports/latest.html")
    return 0 if green else 1


def _inputs(subject: Subject) -> list[str]:
    """What the model takes, in words, as far as its file tells."""
    model = subject.format.load(subject.model, None, Path.cwd())
    return [f"{port['name']}: {port['dtype']} {port['shape']}" for port in subject.format.ports(model)[0]]


def _tell(files: dict[Path, str], chosen: Weighed, made: CaseFile) -> None:
    from weighbridge.propose.front import in_words

    print(f"{chosen.trial.result.name}: {in_words(chosen)}\n")
    print("".join(f"    {line}\n" for line in made.files[made.case].splitlines()))
    print("wrote " + ", ".join(str(path) for path in files))


def _left_alone(lacking: Sequence[str]) -> str:
    """What to write into pytest's settings by hand, which are the user's."""
    told = "pytest has settings here, which are left alone: add `--report html,markdown` for the HTML report"
    if not lacking:
        return told
    return f"{told}, and, without which `pytest` alone does not find this gate:" + "".join(
        f"\n    {line}" for line in lacking
    )


def _check(path: Path, executor: str) -> bool:
    """Whether the gate is green, as pytest will find it without --bench: what was just made is read from the store."""
    from weighbridge.case.load import load_cases
    from weighbridge.cli.proposing import STORE
    from weighbridge.core.results import Status
    from weighbridge.run.job import RunOptions
    from weighbridge.run.several import carry_out

    options = RunOptions(root=Path.cwd(), store=Path.cwd() / STORE, bench=False)
    (result,) = carry_out(load_cases(path), options, say, executor)
    say("")
    wrong = [verdict for verdict in result.verdicts if verdict.status not in (Status.PASS, Status.SKIP)]
    for verdict in wrong:
        print(f"{path}:{verdict.line}: {verdict.message or verdict.threshold}")
    return not wrong
