"""`weighbridge try`: the standard recipes on a model, without a case file."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from weighbridge.cli.proposing import add_subject, subject_of, trials_of
from weighbridge.cli.verbs import add_verb

_EXAMPLES = "example: weighbridge try model.onnx --data samples.npz --bench -o cases/model.yaml"


def register(verbs: Any) -> None:
    text = (
        "try the standard recipes on a model: what each makes of size, accuracy and speed, and which to take"
    )
    verb = add_verb(verbs, "try", run, text, _EXAMPLES)
    add_subject(verb)
    verb.add_argument("--bench", action="store_true", help="measure speed too: some seconds a recipe")
    verb.add_argument(
        "--report", default="", metavar="FORMATS", help="reports to write, such as html,markdown"
    )
    verb.add_argument("--out", type=Path, default=Path("reports"), help="folder of the reports (reports)")
    verb.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write the recommended recipe as a case, with its limits",
    )


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0; 1 where no recipe can be recommended; 2 for wrong use, or where nothing can be carried out."""
    from weighbridge.cli.writing import refuse_there, write_new
    from weighbridge.contracts import REPORTS
    from weighbridge.propose.front import in_words, recommended, show_front, weigh, why_nothing_holds
    from weighbridge.propose.written import case_files
    from weighbridge.report.assembly import make_report
    from weighbridge.report.github import announce
    from weighbridge.report.terminal import render

    refuse_there(arguments.output)
    subject = subject_of(arguments)
    writers = [REPORTS.get(name) for name in filter(None, arguments.report.split(","))]
    also = [name for writer in writers for name in getattr(writer, "measures", ())]
    trials = trials_of(arguments, subject, arguments.bench, also)
    report = make_report([trial.result.row() for trial in trials], {"bench": arguments.bench}, Path.cwd())
    for writer in writers:
        arguments.out.mkdir(parents=True, exist_ok=True)
        writer.write(report, arguments.out, "try")
    width = shutil.get_terminal_size((100, 24)).columns
    print(render(report, color=sys.stdout.isatty(), width=width))
    if any(writer.name == "github" for writer in writers):
        announce(report, sys.stdout.write, os.environ)
    weighed = weigh(trials)
    print(show_front(weighed))
    best = recommended(weighed)
    if best is None:
        unwritten = f"; {arguments.output} was not written" if arguments.output else ""
        print(f"\nnone is recommended: {why_nothing_holds(weighed)}{unwritten}")
        return 1
    print(f"\nrecommended: {best.trial.result.name}, {in_words(best)}")
    if arguments.output is not None:
        write_new(case_files(subject, best.trial, arguments.output).files)
        print(f"wrote {arguments.output}; next: pytest {arguments.output} --bench")
    return 0
