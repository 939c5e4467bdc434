"""A team's history in a real PostgreSQL: as the file's, for many machines at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.history import postgres
from tests.history.histories import CASE, FIRST, SECOND, report, row
from tests.projects import report_of

from weighbridge.cli.main import main
from weighbridge.core.errors import UsageError
from weighbridge.core.past import past_of
from weighbridge.history.against import References
from weighbridge.history.history import History

Project = Callable[..., Path]


@pytest.fixture(scope="module")
def running() -> Iterator[str]:
    pytest.importorskip("sqlalchemy", reason="pip install 'weighbridge[history]'")
    pytest.importorskip("psycopg", reason="pip install 'weighbridge[history]'")
    folder = postgres.programs()
    if folder is None:
        pytest.skip(postgres.INSTALL)
    with postgres.server(folder) as url:
        yield url


@pytest.fixture
def url(running: str) -> str:
    """Without tables, as a team finds it."""
    import psycopg

    with psycopg.connect(running, autocommit=True) as connection:
        for table in ("rows", "runs", "schema"):
            connection.execute(f"DROP TABLE IF EXISTS weighbridge_{table}")
    return running


def test_what_is_kept_comes_back(url: str) -> None:
    history, first = History(url), report(1, row(ratio=1.5), row("cases/größe\0.yaml::n", accuracy=None))
    assert history.runs(5) == []
    assert [history.keep(first), history.keep(first)] == [2, 0]
    assert history.of_case(CASE, 5) == [past_of(first, first["rows"][0])]
    (run,) = history.runs(5)
    assert (run.dirty, run.branch, run.counts) == (False, "main", {"pass": 2})


def test_it_answers_as_the_file_does(url: str, tmp_path: Path) -> None:
    places = [History(url), History(str(tmp_path / "h.sqlite"))]
    for number in range(12):
        facts = {"branch": "topic" if number % 3 == 0 else "main", "dirty": number % 5 == 0}
        facts["machine_class"] = SECOND if number % 2 else FIRST
        one = row(status="fail" if number == 11 else "pass", ratio=1.5)
        for history in places:
            history.keep(report(number, one, **facts))
    questions: list[Callable[[History], object]] = [
        lambda history: history.runs(7),
        lambda history: history.cases(),
        lambda history: history.of_case(CASE, 5, "main"),
        lambda history: history.recent(4),
        lambda history: history.sound_of_branch(CASE, "main", FIRST),
        lambda history: history.last_called(CASE, report(4)["commit"][:7].upper()),
        lambda history: history.seconds("2026-01-01T05:30:00+00:00"),
        lambda history: References(history.place, tmp_path, FIRST).of(CASE, ["main"]),
    ]
    for ask in questions:
        server, file = map(ask, places)
        assert server == file
        assert server


@pytest.mark.slow
def test_many_machines_write_at_once_and_the_first_runs_too(url: str) -> None:
    """In processes of their own, none of which finds a table."""
    code = (
        "import sys; from tests.history.histories import report, row; from weighbridge.history.history import History\n"
        "for number in range(int(sys.argv[2]), int(sys.argv[2]) + 5): History(sys.argv[1]).keep(report(number))\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, url, str(start)]) for start in (0, 100, 200, 300)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    assert len(History(url).runs(100)) == 20


def test_one_run_that_two_keep_is_kept_once(url: str) -> None:
    History(url).keep(report(0))
    with ThreadPoolExecutor(4) as pool:
        kept = list(pool.map(lambda _: History(url).keep(report(1)), range(4)))
    assert sorted(kept) == [0, 0, 0, 1]


def test_a_run_of_pytest_is_kept_there_and_shown(
    url: str, project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    project()
    result = pytester.runpytest_inprocess(f"--history={url}")
    assert "was not kept" not in result.stdout.str()
    assert not (pytester.path / ".weighbridge/history.sqlite").exists()
    result = pytester.runpytest_inprocess(
        f"--history={url}", f"--against={report_of(pytester.path)['run'][:8]}"
    )
    result.stdout.fnmatch_lines(["Against *: none of 1 cases differ"])
    assert main(["history", "net", "--history", url]) == 0
    out = capsys.readouterr().out
    assert "cases/net.yaml::net: 2 runs" in out
    assert "secret" not in out


def test_a_newer_schema_is_refused(url: str) -> None:
    import psycopg

    History(url).keep(report(1))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE weighbridge_schema SET version = 7")
    with pytest.raises(UsageError, match="schema 7, and this version of Weighbridge knows 1") as error:
        History(url).keep(report(2))
    assert "secret" not in str(error.value)


def test_a_server_that_is_not_there_costs_no_run(
    running: str, project: Project, pytester: pytest.Pytester
) -> None:
    project()
    result = pytester.runpytest_inprocess("--history=postgresql://ann:secret@127.0.0.1:1/none")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*the run was not kept: the history postgresql://ann:*@127.0.0.1:1/none: *"])
    assert "secret" not in result.stdout.str()


@pytest.mark.parametrize(
    ("url", "why"),
    [("nonsense://x", "is no database's URL"), ("postgresql+nodriver://x", "is no database's URL")],
)
def test_a_url_of_no_use_is_told(url: str, why: str) -> None:
    pytest.importorskip("sqlalchemy", reason="pip install 'weighbridge[history]'")
    with pytest.raises(UsageError, match=why):
        History(url)


def test_without_the_extra_it_says_what_to_install(
    project: Project, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    monkeypatch.setattr("weighbridge.history.by_sqlalchemy.missing", lambda requirement: requirement.install)
    result = pytester.runpytest_inprocess("--history=postgresql://ann:secret@host/db")
    text = result.stdout.str() + result.stderr.str()
    assert "pip install 'weighbridge[history]'" in text
    assert "secret" not in text
    assert result.ret != 0
