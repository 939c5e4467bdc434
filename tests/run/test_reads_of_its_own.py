"""What the case's code writes itself, keeps beside itself, or opens without being called by a case is no reason to make its
results anew; what somebody else has changed under its hands is.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from tests.projects import report_of
from tests.run.test_files_read import as_in_a_new_process
from tests.run.test_read_in_calls import CASE, write

from weighbridge.case.load import load_cases
from weighbridge.core import observed
from weighbridge.core.files import read_regular
from weighbridge.core.observed import read_in_calls
from weighbridge.run.reads import Reads

STEP = """
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import torch
from weighbridge.contracts import STEPS, Model, Options, Step

HERE = Path(__file__).parent


class Nothing(Options):
    pass


{notes}


def thin(model, options, context):
    import copy

    module = copy.deepcopy(model.value)
    note(module)
    for parameter in module.parameters():
        parameter.data[parameter.detach().abs() < 0.05] = 0
    return Model('torch', module, model.source)


STEPS.add('prune:{name}', Step('prune', '{name}', ('torch',), Nothing, thin, random=False))
"""
HISTORY = """
def note(module):
    path = HERE / 'history.json'
    try:
        runs = json.loads(path.read_text())
    except FileNotFoundError:
        runs = []
    path.write_text(json.dumps([*runs, 'a run']))
"""
TABLE = """
def note(module):
    with sqlite3.connect(HERE / 'runs.db') as table:
        table.execute('create table if not exists runs (name text)')
        table.execute("insert into runs values ('a run')")
"""
LOG = """
def note(module):
    descriptor = os.open(HERE / 'run.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b'a run')
    os.close(descriptor)
"""
COMMIT = """
def note(module):
    head = HERE / '.git' / 'HEAD'
    head.parent.mkdir(exist_ok=True)
    subprocess.run([sys.executable, '-c', f'open({str(head)!r}, "a").write("a commit")'], check=True)
    head.read_text()
"""
COMPILED = """
def note(module):
    kept = HERE / '__pycache__' / 'metric.size-1.nbi'
    kept.parent.mkdir(exist_ok=True)
    subprocess.run([sys.executable, '-c', f'open({str(kept)!r}, "a").write("a type")'], check=True)
    kept.read_bytes()
"""
BEST = """
def note(module):
    torch.save(module.state_dict(), HERE / 'best.pt')
    module.load_state_dict(torch.load(HERE / 'best.pt', weights_only=True))
"""
"""Written by native code, which nobody sees, and by each case anew."""
TEACHER = """
def note(module):
    torch.load(HERE / 'teacher.pt', weights_only=True)
"""


def steps(pytester: pytest.Pytester) -> list[bool]:
    """Whether the last step of each case came from the store, in a run that remembers nothing of the one before."""
    as_in_a_new_process()
    observed._in_calls.clear()
    observed._written.clear()
    pytester.runpytest_inprocess("--executor=inline")
    return [row["steps"][-1]["cached"] for row in report_of(pytester.path)["rows"]]


def project(pytester: pytest.Pytester, notes: str) -> Path:
    folder = pytester.mkdir("cases")
    write(folder, "def gain():\n    return 1.0", "net")
    name = re.sub(r"\W", "_", pytester.path.name)  # a step's name is a process's
    (folder / "conftest.py").write_text(STEP.format(notes=notes, name=name))
    shared = CASE.replace("NET", "net").replace("recipe: [{prune: l1_unstructured, amount: 0.3}]\n", "")
    cases = (
        f"cases:\n  - {{name: one, recipe: [{{prune: {name}}}]}}\n"
        f"  - {{name: other, recipe: [{{prune: l1_unstructured, amount: 0.3}}, {{prune: {name}}}]}}\n"
    )
    (folder / "gate.yaml").write_text(shared + cases)
    return folder


@pytest.mark.parametrize(
    "notes",
    [HISTORY, TABLE, LOG, COMMIT, COMPILED, BEST],
    ids=["a history", "a table of runs", "a log", "the commit", "compiled code", "the best weights so far"],
)
def test_what_the_run_itself_brings_about_is_no_reason(pytester: pytest.Pytester, notes: str) -> None:
    project(pytester, notes)
    assert steps(pytester) == [False, False]
    assert steps(pytester) == [True, True]


def test_what_is_read_and_left_alone_is_one(pytester: pytest.Pytester) -> None:
    """A file that looks like a log and is read only."""
    folder = project(pytester, "def note(module):\n    (HERE / 'run.log').read_text()\n")
    (folder / "run.log").write_text("a run")
    assert steps(pytester) == [False, False]
    (folder / "run.log").write_text("another run")
    assert steps(pytester) == [False, False]
    assert steps(pytester) == [True, True]


@pytest.mark.slow
def test_weights_that_are_read_and_left_alone_are_one(pytester: pytest.Pytester) -> None:
    folder = project(pytester, TEACHER)
    torch.save({"a": torch.zeros(3)}, folder / "teacher.pt")
    assert steps(pytester) == [False, False]
    assert steps(pytester) == [True, True]
    torch.save({"a": torch.ones(3)}, folder / "teacher.pt")
    assert steps(pytester) == [False, False]


@pytest.mark.slow
def test_what_somebody_changes_after_it_was_read_is_one(pytester: pytest.Pytester) -> None:
    """As one who edits a setting while the case runs: what was made with the old one would serve for the new one."""
    notes = (
        "def note(module):\n"
        "    below = HERE / 'below.txt'\n"
        "    if below.read_text() == 'old':\n"
        "        subprocess.run([sys.executable, '-c', f'open({str(below)!r}, \"w\").write(\"new\")'], check=True)\n"
    )
    folder = project(pytester, notes)
    (folder / "below.txt").write_text("old")
    steps(pytester)
    assert steps(pytester)[0] is False
    assert steps(pytester) == [True, True]


def test_a_file_that_nobody_may_read_is_as_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code may try a file of somebody else's and go on without it."""

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    write(tmp_path, "def gain():\n    return 1.0", "net")
    (case,) = load_cases(tmp_path / "gate.yaml")
    monkeypatch.setattr("weighbridge.run.reads.content_digest", refuse)
    reads = Reads(case, tmp_path)
    assert reads.are_as_now({"x.npy": ""})
    assert not reads.are_as_now({"x.npy": "the hash that it had"})


def test_a_script_that_runs_everything_itself_reads_nothing(tmp_path: Path) -> None:
    """`python model.py` may call pytest: what we read then, such as reports and other cases, is not what a model reads."""
    observed.watch()
    report = tmp_path / "report.json"
    report.write_text("{}")
    read_regular(report, 10)
    assert report not in read_in_calls([Path(__file__).resolve()])
