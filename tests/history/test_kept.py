"""A history keeps every run, whatever happens to its file and to whoever writes it."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.history.histories import CASE, FIRST, report, row
from tests.projects import report_of

from weighbridge.cli.main import main
from weighbridge.core.errors import UsageError
from weighbridge.core.urls import without_password
from weighbridge.environment.revision import revision
from weighbridge.history.history import History

Project = Callable[..., Path]
NOT_MUCH = """
model: {torch: model.py:net, weights: net.safetensors}
data: model.py:splits
recipe: [{prune: l1_unstructured, amount: 0.1}]
thresholds: {accuracy_drop: 0.5}
"""


def kept(folder: Path) -> History:
    return History(str(folder / ".weighbridge" / "history.sqlite"))


def test_a_run_is_kept_with_what_it_was_of(project: Project, pytester: pytest.Pytester) -> None:
    folder = project(net=NOT_MUCH)
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b.c", "-C", str(pytester.path)]
    for words in (["init", "-qb", "trunk"], ["add", "cases"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    pytester.runpytest_inprocess()
    (folder / "net.yaml").write_text(NOT_MUCH + "seed: 3\n")
    pytester.runpytest_inprocess()
    first, second = kept(pytester.path).of_case("cases/net.yaml::net", 10)
    assert (first.branch, first.dirty, second.dirty) == ("trunk", False, True)
    assert first.commit == second.commit == report_of(pytester.path)["commit"]
    assert first.machine == report_of(pytester.path)["machine_class"] != ""
    assert first.status == "pass"
    assert first.verdicts[0]["limit"] == {"max": 0.5}
    row = report_of(pytester.path)["rows"][0]
    assert first.measurements["accuracy"].candidate == row["measurements"]["accuracy"]["candidate"]


@pytest.mark.parametrize(
    ("told", "branch"),
    [
        ({"GITHUB_REF_NAME": "main", "GITHUB_REF": "refs/heads/main", "GITHUB_SHA": "{head}"}, "main"),
        ({"GITHUB_REF_NAME": "12/merge", "GITHUB_REF": "refs/pull/12/merge", "GITHUB_HEAD_REF": "main"}, "pull/12"),
        ({"GITHUB_REF_NAME": "main", "GITHUB_REF": "refs/heads/main", "GITHUB_HEAD_REF": "main"}, "pull/main"),
        ({"GITHUB_REF_NAME": "main", "GITHUB_REF": "refs/heads/main", "GITHUB_SHA": "0" * 40}, None),
        ({"CI_COMMIT_REF_NAME": "main"}, "main"),
        ({"CI_COMMIT_REF_NAME": "main", "CI_MERGE_REQUEST_IID": "7"}, "pull/7"),
        ({"BUILDKITE_BRANCH": "main", "BUILDKITE_PULL_REQUEST": "false"}, "main"),
        ({"BUILDKITE_BRANCH": "main", "BUILDKITE_PULL_REQUEST": "7"}, "pull/7"),
        ({}, None),
    ],
)  # fmt: skip
def test_a_pull_request_is_not_the_branch_that_its_author_calls_so(
    told: dict[str, str], branch: str | None, tmp_path: Path
) -> None:
    """A fork's `main` would be what the next run is held to. What is checked out by a CI service is a commit."""
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b.c", "-C", str(tmp_path)]
    for words in (["init", "-qb", "local"], ["commit", "-qm", "first", "--allow-empty"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    assert revision(tmp_path, told).branch == "local"
    subprocess.run([*git, "checkout", "-q", "--detach"], check=True, capture_output=True)
    head = str(revision(tmp_path, {}).commit)
    assert revision(tmp_path, {name: text.format(head=head) for name, text in told.items()}).branch == branch


def test_what_is_kept_is_small(tmp_path: Path) -> None:
    history = History(str(tmp_path / "h.sqlite"))
    history.keep(report(1, row(ratio=1.5, samples=5000)))
    (past,) = history.of_case(CASE, 1)
    assert past.measurements["speed"].details["interval"] == [1.5 * 0.99, 1.5 * 1.01]
    assert "ratios" not in past.measurements["speed"].details
    assert "by_sample" not in past.measurements["accuracy"].details
    assert past.measurements["size"].details["candidate"] == {"file": 10_000, "weights": 9_500}


def test_rows_come_in_the_order_of_time_whatever_the_order_of_keeping(tmp_path: Path) -> None:
    history = History(str(tmp_path / "h.sqlite"))
    for number in (3, 1, 2):
        history.keep(report(number, row(size=number)))
    assert [past.measurements["size"].candidate for past in history.of_case(CASE, 10)] == [1, 2, 3]
    assert [past.measurements["size"].candidate for past in history.of_case(CASE, 2)] == [2, 3]


def test_a_run_is_kept_once(tmp_path: Path) -> None:
    history = History(str(tmp_path / "h.sqlite"))
    assert [history.keep(report(1)), history.keep(report(1))] == [1, 0]
    assert len(history.runs(10)) == 1


def test_a_case_that_did_not_run_leaves_no_gap(tmp_path: Path) -> None:
    history = History(str(tmp_path / "h.sqlite"))
    assert history.keep(report(1, {**row(status="unmeasured"), "measurements": {}})) == 0
    assert history.keep(report(2, {**row(status="error"), "measurements": {}})) == 1


@pytest.mark.parametrize("how", ["option", "ini"])
def test_it_can_be_placed_elsewhere_and_switched_off(
    how: str, project: Project, pytester: pytest.Pytester
) -> None:
    project(net=NOT_MUCH)
    place = pytester.path / "mine.sqlite"

    def run(text: str) -> None:
        if how == "option":
            pytester.runpytest_inprocess(f"--history={text}")
        else:
            pytester.makeini(f"[pytest]\nweighbridge_history = {text}\n")
            pytester.runpytest_inprocess()

    run("off")
    assert not (pytester.path / ".weighbridge/history.sqlite").exists()
    run("mine.sqlite")
    assert place.is_file()
    assert not (pytester.path / ".weighbridge/history.sqlite").exists()


def test_the_stores_clearing_leaves_it(project: Project, pytester: pytest.Pytester) -> None:
    project(net=NOT_MUCH)
    pytester.runpytest_inprocess()
    assert main(["cache", "clear"]) == 0
    assert len(kept(pytester.path).runs(10)) == 1


def test_many_write_at_the_same_time(tmp_path: Path) -> None:
    place = str(tmp_path / "h.sqlite")
    numbers = range(24)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: History(place).keep(report(number)), numbers))
    assert len(History(place).runs(100)) == len(numbers)


def test_a_writer_that_is_killed_leaves_whole_runs(tmp_path: Path) -> None:
    """Killed at a row in the middle of its run, after 1, 2 and 3 runs that it has kept."""
    place = tmp_path / "h.sqlite"
    code = (
        "import os, signal, sys; from tests.history.histories import report, row\n"
        "from weighbridge.history import history\n"
        "written, insert = [], history._insert\n"
        "def insert_or_die(run, past):\n"
        "    if len(written) == 50 * int(sys.argv[2]) + 25: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    written.append(insert(run, past))\n"
        "history._insert = insert_or_die\n"
        "for number in range(9):\n"
        "    rows = [row(f'cases/a.yaml::{index}') for index in range(50)]\n"
        "    history.History(sys.argv[1]).keep(report(10 * int(sys.argv[2]) + number, *rows))\n"
    )
    for runs in (1, 2, 3):
        done = subprocess.run([sys.executable, "-c", code, str(place), str(runs)])
        assert done.returncode == -signal.SIGKILL
    said: list[str] = []
    history = History(str(place), said.append)
    assert history.keep(report(9000)) == 1
    assert said == []
    assert sorted(sum(run.counts.values()) for run in history.runs(100)) == [1, *[50] * 6]


def test_a_damaged_file_is_said_and_set_aside(project: Project, pytester: pytest.Pytester) -> None:
    project(net=NOT_MUCH)
    place = pytester.path / ".weighbridge" / "history.sqlite"
    place.parent.mkdir()
    History(str(place)).keep(report(1, *(row(f"cases/a.yaml::{index}") for index in range(200))))
    raw = bytearray(place.read_bytes())
    raw[4096 * 3 : 4096 * 5] = b"x" * 8192
    place.write_bytes(raw)
    with pytest.raises(UsageError, match=r"is damaged .*the next run sets it aside"):
        kept(pytester.path).of_case("cases/a.yaml::1", 5)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*history.sqlite was damaged (*): it is now history.sqlite.damaged-*"])
    (aside,) = place.parent.glob("history.sqlite.damaged-*")
    assert aside.read_bytes() == bytes(raw)
    assert len(kept(pytester.path).runs(10)) == 1


def test_a_newer_schema_is_refused_and_left_as_it_is(project: Project, pytester: pytest.Pytester) -> None:
    project(net=NOT_MUCH)
    place = pytester.path / "newer.sqlite"
    History(str(place)).keep(report(1))
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE weighbridge_schema SET version = 7")
    result = pytester.runpytest_inprocess("--history=newer.sqlite")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*was not kept: *newer.sqlite is a history of schema 7, and this version of Weighbridge knows 1*"]
    )
    with pytest.raises(UsageError, match="schema 7"):
        History(str(place)).runs(1)
    with sqlite3.connect(place) as connection:
        assert connection.execute("SELECT COUNT(*) FROM weighbridge_runs").fetchone() == (1,)


def test_nobody_elses_file_is_touched(tmp_path: Path) -> None:
    other, notes = tmp_path / "other.sqlite", tmp_path / "notes.yaml"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    notes.write_text("model: {onnx: a.onnx}\n")
    with pytest.raises(UsageError, match=r"another program's database .*customers"):
        History(str(other)).keep(report(1))
    with pytest.raises(UsageError, match="is no SQLite file"):
        History(str(notes)).keep(report(1))
    assert notes.read_text() == "model: {onnx: a.onnx}\n"
    assert sorted(path.name for path in tmp_path.glob("*damaged*")) == []


def test_what_is_no_text_everywhere_is_kept_all_the_same(tmp_path: Path) -> None:
    history = History(str(tmp_path / "h.sqlite"))
    odd = "cases/\udcff\0.yaml::net"
    history.keep(report(1, row(odd), branch="\udcff"))
    assert len(history.of_case(odd, 1)) == 1


def test_no_password_is_in_a_report(
    project: Project, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(net=NOT_MUCH)
    url = "postgresql://ann:secret@localhost/x?password=secret"
    monkeypatch.setattr(sys, "argv", ["pytest", f"--history={url}"])
    pytester.runpytest_inprocess("--history=off")
    assert "secret" not in json.dumps(report_of(pytester.path))
    assert without_password(url) == "postgresql://ann:***@localhost/x?password=***"


def test_machines_of_a_kind_can_be_named(project: Project, pytester: pytest.Pytester) -> None:
    project(net=NOT_MUCH)
    pytester.makeini("[pytest]\nweighbridge_machine = ci-large\n")
    pytester.runpytest_inprocess()
    (past,) = kept(pytester.path).of_case("cases/net.yaml::net", 5)
    assert past.machine == "ci-large" != FIRST


@pytest.mark.parametrize("name", ["x.db", "x.sqlite", "x.sqlite3", "x"])
def test_a_file_that_is_not_sqlites_is_refused_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    """Other programs call theirs .db too."""
    place = tmp_path / name
    place.write_bytes(b"\0\6\x15\x61 Berkeley" * 100)
    with pytest.raises(UsageError, match="is no SQLite file, and is left as it is"):
        History(str(place)).keep(report(1))
    with pytest.raises(UsageError, match="is no SQLite file, and is left as it is"):
        History(str(place)).runs(1)
    assert place.read_bytes() == b"\0\6\x15\x61 Berkeley" * 100
    assert list(tmp_path.glob("*damaged*")) == []


@pytest.mark.parametrize("left", [b"", b"SQLite for", b"SQLite format 3\0"])
def test_what_a_full_disk_left_of_a_history_is_in_nobodys_way(left: bytes, tmp_path: Path) -> None:
    place = tmp_path / "h.db"
    place.write_bytes(left)
    history = History(str(place))
    assert history.keep(report(1)) == 1
    assert len(history.runs(9)) == 1


def test_a_folder_is_no_history(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        History(str(tmp_path)).runs(1)
