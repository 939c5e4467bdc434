"""`weighbridge bundle` and `unbundle`: a case of the last run packed with what it reads, to be carried out elsewhere."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.cli.verbs import add_report, add_verb, last_report

if TYPE_CHECKING:
    from weighbridge.case.model import Case

_EXAMPLES = (
    "example: weighbridge bundle cases/net.yaml::int8 -o case.zip; elsewhere: weighbridge unbundle case.zip"
)
SHOWN = 10


def register(verbs: Any) -> None:
    text = "pack a case of the last run with the files of the project that it reads, so that it replays elsewhere"
    verb = add_verb(verbs, "bundle", run, text, _EXAMPLES)
    verb.add_argument("case", help="its node id, or its name as the table has it")
    verb.add_argument(
        "-o", "--output", type=Path, default=Path("case.zip"), metavar="FILE", help="(case.zip)"
    )
    add_report(verb)
    text = "unpack a bundle into a new folder, and say how it is run; runs nothing of it"
    verb = add_verb(verbs, "unbundle", unpack, text, _EXAMPLES)
    verb.add_argument("file", type=Path)
    verb.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="a new folder (the file's name)")


def run(arguments: argparse.Namespace) -> int:
    from weighbridge.core.errors import UsageError
    from weighbridge.core.listed import few
    from weighbridge.core.units import show
    from weighbridge.report.escape import terminal
    from weighbridge.run.bundle import contents
    from weighbridge.run.bundle_file import pack
    from weighbridge.run.extensions import load_conftests

    if arguments.output.exists():
        raise UsageError(f"{arguments.output} is there already; name another file with -o")
    report, row = _row(arguments.report, arguments.case)
    root, path = Path.cwd(), Path(row["path"])
    load_conftests(path)
    found = contents(_case(path, row["name"]), root)
    facts = {
        "bundle": 1,
        "case": row["case"],
        "bench": bool(report["options"].get("bench")),
        "confidence": report["options"].get("confidence"),
        "versions": report["versions"],
        "machine": report["machine"],
        "row": row,
    }
    pack(arguments.output, root, found.files, facts)
    print(terminal(f"wrote {arguments.output}: {show(arguments.output.stat().st_size, 'bytes')}"))
    for file in found.files:
        print(terminal(f"    {file}"))
    if found.left:
        left = few(found.left, SHOWN)
        print(terminal(f"read, and not packed, since hidden or outside of the project: {left}"))
    if found.trouble:
        print(terminal(f"files may be missing: {found.trouble}"))
    print("look at the list before you hand it on: whatever these files hold is in it")
    return 0


def unpack(arguments: argparse.Namespace) -> int:
    from weighbridge.report.escape import terminal
    from weighbridge.run.bundle_file import unpack as unpack_into

    target = arguments.output or Path(arguments.file.stem)
    facts = unpack_into(arguments.file, target)
    print(terminal(f"unpacked into {target}; nothing of it was run, and running it runs the code in it"))
    for line in _other_versions(facts.get("versions")):
        print(terminal(line))
    print(terminal(f"next: cd {shlex.quote(str(target))} && {_again(facts)}"))
    return 0


def _row(path: Path, name: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The report, and its one row of that name."""
    from weighbridge.core.errors import UsageError
    from weighbridge.report.explained import rows_called

    report = last_report(path)
    rows = rows_called(report["rows"], name)
    if len(rows) > 1:
        raise UsageError(
            f"'{name}' are {len(rows)} cases; name one: {', '.join(row['case'] for row in rows[:5])}"
        )
    return report, rows[0]


def _case(path: Path, name: str) -> Case:
    from weighbridge.case.load import load_cases
    from weighbridge.core.errors import UsageError, did_you_mean

    if not path.is_file():
        raise UsageError(f"there is no {path} here; run `bundle` where pytest was run")
    cases = {case.name: case for case in load_cases(path)}
    if name not in cases:
        raise UsageError(f"{path} has no case '{name}' any more{did_you_mean(name, cases)}")
    return cases[name]


def _again(facts: Mapping[str, Any]) -> str:
    """The command that carries the case out as the run did, put together here: a bundle is a stranger's text."""
    words = ["weighbridge", "run", facts["case"], *(["--bench"] if facts.get("bench") is True else [])]
    confidence = facts.get("confidence")
    return shlex.join([*words, *(["--confidence", str(confidence)] if isinstance(confidence, float) else [])])


def _other_versions(stated: Any) -> list[str]:
    """What was installed where the bundle was made, and is not here."""
    from weighbridge.report.assembly import versions

    here = versions()
    other = {name: number for name, number in dict(stated or {}).items() if here.get(name) != number}
    return [f"made with {name} {number}; here: {here.get(name) or 'none'}" for name, number in other.items()]
