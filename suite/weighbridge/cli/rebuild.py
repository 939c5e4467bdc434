"""`weighbridge rebuild`: an artifact made again from its manifest, and held against it byte for byte."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.cli.verbs import add_executor, add_verb, case_of, say

if TYPE_CHECKING:
    from weighbridge.core.results import CaseResult
    from weighbridge.run.job import RunOptions

_EXAMPLES = """example: weighbridge rebuild reports/artifacts/cases/net.yaml/int8/manifest.json
exit codes: 0 the same, byte for byte; 1 another artifact, made here or beside the manifest; 2 wrong use;
3 it could not be made here; 4 the same, but of another recipe, code or data than the manifest says"""
_WRITTEN = ("reports", ".weighbridge")
"""Where runs write; what lies there is handed from job to job."""
SAME, OTHER, NOT_MADE, UNTRUE = 0, 1, 3, 4


def register(verbs: Any) -> None:
    text = "make an artifact again from its manifest, by the case in this project, and compare byte for byte"
    verb = add_verb(
        verbs, "rebuild", run, text, _EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verb.add_argument("manifest", type=Path, metavar="MANIFEST", help="manifest.json beside the artifact")
    verb.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER", help="keep what was made, in a new folder"
    )
    add_executor(verb)


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.core.errors import UsageError
    from weighbridge.report.escape import terminal
    from weighbridge.run.artifacts import case_folder
    from weighbridge.run.job import RunOptions
    from weighbridge.run.manifest import NAME, contradicts, differences, is_same, not_as_stated, read_manifest

    if arguments.output and arguments.output.exists():
        raise UsageError(f"{arguments.output} is there already; name another folder with -o")
    stated = read_manifest(arguments.manifest)
    path = _case_file(stated["case"], arguments.manifest, Path.cwd())
    with tempfile.TemporaryDirectory(prefix="weighbridge-") as name:
        artifacts = Path(name) / "artifacts"
        options = RunOptions(root=Path.cwd(), store=Path(name), artifacts=artifacts, bench=False)
        result = _make(stated, path, options, arguments.executor)
        say("")
        folder = case_folder(artifacts, stated["case"])
        if not (folder / NAME).is_file():
            print(terminal(f"it could not be made here: {result.message or 'the case makes no artifact'}"))
            return NOT_MADE
        made = read_manifest(folder / NAME)
        if arguments.output:
            arguments.output.mkdir(parents=True)
            shutil.copytree(folder / "candidate", arguments.output / "candidate")
            shutil.copy(folder / NAME, arguments.output)
    status = OTHER if not is_same(stated, made) else UNTRUE if contradicts(stated, made) else SAME
    if status == SAME:
        print(
            f"the same, byte for byte: {len(made['artifact']['files'])} file(s) of {terminal(stated['case'])}"
        )
    if apart := differences(stated, made):
        print(
            "another artifact than that of the manifest, which has:"
            if status == OTHER
            else "the same bytes, but the manifest says otherwise of:"
        )
    for line in apart:
        print(terminal(f"    {line}"))
    if beside := not_as_stated(stated, arguments.manifest.parent):
        print(
            terminal(
                f"beside the manifest lies another artifact than it states, not to ship: {', '.join(beside)}"
            )
        )
        return OTHER
    return status


def _make(stated: Mapping[str, Any], path: str, options: RunOptions, executor: str) -> CaseResult:
    """The case of the manifest, carried out as far as its artifact, in a store of its own."""
    from weighbridge.core.registry import origins
    from weighbridge.run.events import Event, Said, StageEntered
    from weighbridge.run.executors.base import start_executor
    from weighbridge.run.job import Job
    from weighbridge.run.plan import make_plan

    def listen(event: Event) -> None:
        if isinstance(event, StageEntered | Said):
            say(event.text)

    case = replace(case_of(stated["case"]), repeat=1)
    plan = replace(make_plan(case, wanted=(), bench=False), measures=())
    carries_out = start_executor(executor)
    try:
        return carries_out.run(Job(stated["case"], path, plan, options, origins()), listen)
    finally:
        carries_out.close()


def _case_file(case: str, manifest: Path, root: Path) -> str:
    """The case file that a manifest names, which is code of this project.

    Raises `UsageError` for one outside of it, for one that may have come along with the manifest (beside it, or where runs
    write), and in a git checkout for one that git does not track.
    """
    from weighbridge.core.errors import UsageError
    from weighbridge.environment.revision import is_untracked

    path = case.partition("::")[0]
    try:
        place, came = (root / path).resolve(), manifest.resolve().parents
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"the manifest names a case file that can be none: {error}") from error
    if Path(path).is_absolute() or not place.is_relative_to(root):
        raise UsageError(f"the manifest names {path}, which lies outside of {root}: run where pytest was run")
    beside = [came[0], *(folder for folder in came if folder.name == "artifacts")]
    written = [*(root / name for name in _WRITTEN), *(one for one in beside if root in one.parents)]
    for folder in written:
        if place.is_relative_to(folder):
            raise UsageError(
                f"the manifest names {path}, which lies in {folder.relative_to(root)} as what came along with the manifest "
                "does, and nothing of that is run: it has to name a case file of the project"
            )
    if is_untracked(place, root):
        raise UsageError(
            f"the manifest names {path}, which git does not track here, so it may have come along with the manifest: "
            "look at it, then `git add` it"
        )
    return path
